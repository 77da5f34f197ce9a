"""Messages to values and back: the only place where the two meet."""
