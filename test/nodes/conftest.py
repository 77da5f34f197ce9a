"""What the tests of the nodes' room share."""

import dataclasses

import numpy as np
import pytest


def equal(a, b):
    """Tell whether two values are the same, arrays by dtype, shape and every bit of value."""
    if type(a) is not type(b):
        return False
    if dataclasses.is_dataclass(a):
        names = [f.name for f in dataclasses.fields(a)]
        return all(equal(getattr(a, name), getattr(b, name)) for name in names)
    if isinstance(a, np.ndarray):
        is_float = a.dtype.kind == "f"
        return (
            a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=is_float)
        )
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@pytest.fixture
def same():
    return equal
