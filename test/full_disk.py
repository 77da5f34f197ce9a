"""A disk without room, as far as a process can make one for itself."""

import resource
from contextlib import contextmanager


@contextmanager
def no_room_beyond(num_bytes):
    """Let no file grow beyond so many bytes: writing ends as it does where the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
