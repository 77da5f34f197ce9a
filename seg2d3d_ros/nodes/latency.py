"""How long results take, from the arrival of a picture to its publication, for /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Hashable

import numpy as np

_NUM_KEPT = 200
_NUM_OPEN = 10_000


class Latency:
    """Measures the newest 200; things come in and go out in different threads."""

    def __init__(self) -> None:
        """Start without any."""
        self._lock = threading.Lock()
        self._since_s: OrderedDict[Hashable, float] = OrderedDict()
        self._taken_s: deque[float] = deque(maxlen=_NUM_KEPT)

    def start(self, key: Hashable) -> None:
        """Note that something has come; what never ends is forgotten after 10,000 others."""
        with self._lock:
            self._since_s[key] = time.monotonic()
            if len(self._since_s) > _NUM_OPEN:
                self._since_s.popitem(last=False)

    def stop(self, key: Hashable, counts: bool = True) -> None:
        """Note that it is done; it may have been done without being worth counting."""
        with self._lock:
            since_s = self._since_s.pop(key, None)
            if counts and since_s is not None:
                self._taken_s.append(time.monotonic() - since_s)

    def values(self) -> dict[str, float]:
        """Return `latency_p50_ms` and `latency_p95_ms`; empty before the first."""
        with self._lock:
            if not self._taken_s:
                return {}
            p50, p95 = np.percentile(np.array(self._taken_s), (50, 95)) * 1e3
            return {"latency_p50_ms": float(p50), "latency_p95_ms": float(p95)}
