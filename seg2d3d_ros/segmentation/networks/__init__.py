"""The networks behind the backends, one file each; torch is imported only in here."""
