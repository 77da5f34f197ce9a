"""Landmarks that turned out to be the same: one keeps its id, the others point to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seg2d3d_ros.types import Cluster, IntArray, Landmarks


class Aliases:
    """Ids are never reused: one that was merged away stands for its heir for good."""

    def __init__(self) -> None:
        """Start with every id standing for itself."""
        self._heir: IntArray = np.arange(0)

    def of(self, ids: IntArray) -> IntArray:
        """Return what ids (n,) stand for now."""
        if not len(self._heir):
            return ids
        return np.where(
            ids < len(self._heir), self._heir[np.minimum(ids, len(self._heir) - 1)], ids
        )

    def merge(self, kept: IntArray, absorbed: IntArray) -> list[tuple[int, int]]:
        """Let pairs (n,) stand for the same, in their order; the smaller id survives.

        Returns:
            (heir, id that was merged away) of those that were not the same before.
        """
        done: list[tuple[int, int]] = []
        highest = int(max(kept.max(initial=-1), absorbed.max(initial=-1)))
        if highest >= len(self._heir):
            self._heir = np.concatenate([self._heir, np.arange(len(self._heir), highest + 1)])
        heir: dict[int, int] = {}  # of those that still were on their own before these pairs

        def find(number: int) -> int:
            while (above := heir.get(number, number)) != number:
                heir[number] = heir.get(above, above)
                number = above
            return number

        for a, b in zip(self._heir[kept].tolist(), self._heir[absorbed].tolist(), strict=True):
            x, y = sorted((find(a), find(b)))
            if x != y:
                heir[y] = x
                done.append((x, y))
        if done:
            stands_for = np.arange(len(self._heir))
            gone = sorted(heir)
            stands_for[gone] = [find(number) for number in gone]
            self._heir = stands_for[self._heir]
        return done

    def table(self) -> tuple[IntArray, IntArray]:
        """Return all ids (n,) that were merged away, and what they stand for."""
        gone = np.flatnonzero(self._heir != np.arange(len(self._heir)))
        return gone, self._heir[gone]

    def rename(self, cluster: Cluster) -> Cluster:
        """Return a cluster with ids as they are now; tracks of one landmark become one."""
        landmarks = cluster.landmarks
        ids = self.of(landmarks.ids)
        if np.array_equal(ids, landmarks.ids):
            return cluster
        # Of tracks that became one, the best known position counts.
        order = np.lexsort((landmarks.sigma_m, np.isnan(landmarks.points_local[:, 0]), ids))
        unique, first = np.unique(ids[order], return_index=True)
        rows, index = order[first], np.searchsorted(unique, ids)
        named = Landmarks(
            unique,
            landmarks.points_local[rows],
            landmarks.colors_rgb[rows],
            landmarks.descriptors[rows],
            landmarks.sigma_m[rows],
        )
        seen = replace(cluster.observations, landmark=index[cluster.observations.landmark])
        return replace(cluster, landmarks=named, observations=seen)
