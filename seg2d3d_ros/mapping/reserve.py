"""Arrays that grow with the map, by a little at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHARE = 8


def enlarged(a: NDArray[Any], size: int, fill: Any = 0) -> NDArray[Any]:
    """Return an array of at least so many rows, with room for an eighth more than it had.

    Args:
        a: (n, ...) itself where that is enough.
        size: Rows that are needed.
        fill: What stands in the new ones. Where that is 0 they take no memory before they are
            written.
    """
    if size <= len(a):
        return a
    shape = (max(size, len(a) + len(a) // _SHARE), *a.shape[1:])
    out = np.full(shape, fill, dtype=a.dtype) if fill else np.zeros(shape, dtype=a.dtype)
    out[: len(a)] = a
    return out
