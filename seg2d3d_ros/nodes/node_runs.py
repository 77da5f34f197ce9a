"""What each run of the other nodes has received, so that a killed one is accounted for."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping


class NodeRuns:
    """Counts of pictures per node, run of the node and camera.

    A run begins when a node is started or reset; its number is later than those before it. Counts
    come in different threads, from `/diagnostics` and from flushes.
    """

    def __init__(self, over: frozenset[int] = frozenset()) -> None:
        """Start with nothing heard.

        Args:
            over: Runs that belong to an earlier map: late words about them are not heard.
        """
        self._over = over
        self._lock = threading.Lock()
        self._received: dict[str, dict[int, Counter[str]]] = {}

    def tell(self, node: str, run: int, received: Mapping[str, int]) -> None:
        """Take how many pictures a run of a node has received so far, per camera."""
        if run in self._over:
            return
        with self._lock:
            known = self._received.setdefault(node, {}).setdefault(run, Counter())
            for camera, num in received.items():
                known[camera] = max(num, known[camera])

    def claim(self, run: int) -> None:
        """Hear of a run although it began with an earlier map."""
        self._over -= {run}

    def of(self, node: str) -> dict[int, Counter[str]]:
        """Return what each run of a node has received so far, per camera."""
        with self._lock:
            return dict(self._received.get(node, {}))

    def newest(self, node: str) -> int:
        """Return the newest run of a node, -1 if none has been heard of."""
        return max(self.of(node), default=-1)

    def cameras(self) -> set[str]:
        """Return all cameras that were heard of."""
        with self._lock:
            return {c for runs in self._received.values() for run in runs.values() for c in run}

    def all(self) -> frozenset[int]:
        """Return all runs that were heard of, and those that belong to earlier maps."""
        with self._lock:
            return self._over.union(*self._received.values())
