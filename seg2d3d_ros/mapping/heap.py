"""How the C library keeps the memory of a process that works for hours."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

# Of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE = 1 << 20


def keep_little() -> None:
    """Let what is freed go back to the system; to be called before there are other threads.

    By itself glibc takes arrays of up to 32 MiB out of its heaps once one that large was freed,
    and a heap for each thread. What lives on between them then keeps these heaps large. Where the
    C library is another one nothing happens.
    """
    mallopt = _of_c_library("mallopt")
    if mallopt is not None:
        for what, value in ((_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _LARGE), (_ARENA_MAX, 2)):
            mallopt(what, value)


def give_back() -> None:
    """Give back what is free between things that live on, after work that took much memory."""
    trim = _of_c_library("malloc_trim")
    if trim is not None:
        trim(0)


def _of_c_library(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None)
