"""How the C library keeps the memory of a process that works for hours."""

from __future__ import annotations

import ctypes

# Of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE = 1 << 20


def keep_little() -> None:
    """Let what is freed go back to the system; to be called before there are other threads.

    By itself glibc takes arrays of up to 32 MiB out of its heaps once one that large was freed,
    and a heap for each thread. What lives on between them then keeps these heaps large. Where the
    C library is another one nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for what, value in ((_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _LARGE), (_ARENA_MAX, 2)):
            mallopt(what, value)
