"""Values that are tables: each field is a column with one row for each of n things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Columns:
    """Base of such values."""

    def take(self, rows: np.ndarray) -> Self:
        """Return some rows, by their positions or by (n,) bool."""
        return replace(self, **{name: column[rows] for name, column in vars(self).items()})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of all parts, one part after another; at least one is needed."""
        columns = {name: [getattr(p, name) for p in parts] for name in vars(parts[0])}
        return replace(parts[0], **{n: np.concatenate(c) for n, c in columns.items()})
