"""What a place looks like as one vector: VLAD over a vocabulary learnt at the start of the run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.mapping.loops.appearance import SIZE
from seg2d3d_ros.types import FloatArray

_WORDS = 32
_DIMENSIONS = 32
_MIN_SAMPLES = 1500
_FEWEST_SAMPLES = 300
_MAX_SAMPLES = 4000


class Vocabulary:
    """Words among descriptors (Jegou et al. 2010, "Aggregating local descriptors"), seeded.

    Descriptors are compressed to their principal components first, residuals are summed per word,
    and the signed square root tames bursts of equal windows.
    """

    vector_size = _WORDS * _DIMENSIONS

    def __init__(self, seed: int = 0) -> None:
        """Start without words."""
        self._seed = seed
        self._samples: list[NDArray[np.uint8]] = []
        self._num_samples = 0
        self._mean: FloatArray = np.zeros(SIZE)
        self._basis: FloatArray = np.zeros((SIZE, 0))
        self._words: FloatArray = np.zeros((0, _DIMENSIONS))

    @property
    def is_ready(self) -> bool:
        """Return whether words were learnt."""
        return len(self._words) > 0

    def learn(self, descriptors: NDArray[np.uint8]) -> None:
        """Take descriptors (n, 128) as samples; the words are found once there are enough."""
        if self.is_ready or not len(descriptors):
            return
        self._samples.append(descriptors)
        self._num_samples += len(descriptors)
        if self._num_samples >= _MIN_SAMPLES:
            self._find_words()

    def settle(self) -> None:
        """Make do with few samples: nothing more will come."""
        if not self.is_ready and self._num_samples >= _FEWEST_SAMPLES:
            self._find_words()

    def _find_words(self) -> None:
        from scipy.cluster.vq import kmeans2

        samples = _rooted(np.concatenate(self._samples)[:_MAX_SAMPLES])
        self._samples = []
        self._mean = samples.mean(axis=0)
        centered = samples - self._mean
        _, vectors = np.linalg.eigh(centered.T @ centered)
        self._basis = vectors[:, ::-1][:, :_DIMENSIONS]
        compressed = centered @ self._basis
        self._words, _ = kmeans2(compressed, _WORDS, iter=15, minit="++", rng=self._seed)

    def encode(self, descriptors: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Return the unit vector (1024,) of a picture's descriptors (n, 128)."""
        compressed = (_rooted(descriptors) - self._mean) @ self._basis
        distance = (self._words**2).sum(axis=1) - 2.0 * compressed @ self._words.T
        word = distance.argmin(axis=1)
        is_of = (word == np.arange(_WORDS)[:, None]).astype(np.float64)
        vlad = is_of @ (compressed - self._words[word])
        vlad = np.sign(vlad) * np.sqrt(np.abs(vlad))
        return (vlad / max(float(np.linalg.norm(vlad)), 1e-12)).ravel().astype(np.float16)


def _rooted(descriptors: NDArray[np.uint8]) -> FloatArray:
    """Return descriptors whose distances are Hellinger's (Arandjelovic and Zisserman 2012)."""
    total = np.maximum(descriptors.sum(axis=1, keepdims=True, dtype=np.float64), 1.0)
    return np.sqrt(descriptors / total)
