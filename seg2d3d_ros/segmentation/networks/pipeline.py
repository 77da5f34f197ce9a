"""What networks find in a picture, and the chain from boxes to masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seg2d3d_ros.config import SegmentationConfig
from seg2d3d_ros.segmentation.networks.suppression import suppress_boxes
from seg2d3d_ros.segmentation.prompts import Prompt


@dataclass(frozen=True)
class Candidates:
    """Regions found in one picture of shape (h, w), n of them, before any is suppressed.

    Attributes:
        masks: (n, h, w) bool.
        classes: (n,) position of the class in the prompt.
        scores: (n,) in 0..1.
        embeddings: (n, d) float32 or None.
        embedding_model_id: Which model made the embeddings.
    """

    masks: NDArray[np.bool_]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]
    embeddings: NDArray[np.float32] | None = None
    embedding_model_id: str = ""


@dataclass(frozen=True)
class Detections:
    """Boxes found in one picture, n of them, for c classes.

    Attributes:
        boxes_px: (n, 4) x0 y0 x1 y1.
        class_scores: (n, c) in 0..1.
        embeddings: (n, d) or None.
    """

    boxes_px: NDArray[np.float32]
    class_scores: NDArray[np.float32]
    embeddings: NDArray[np.float32] | None = None


class Pipeline(Protocol):
    """Networks on a device, ready to run."""

    def run(self, pictures: Tensor) -> list[Candidates]:
        """Find regions in pictures (b, 3, h, w) uint8 RGB."""

    def set_prompt(self, prompt: Prompt) -> None:
        """Look for other classes from now on."""

    def to(self, device: str) -> None:
        """Move the networks."""


class Detector(Protocol):
    """Finds boxes by text."""

    embedding_model_id: str

    def detect(self, pictures: Tensor) -> list[Detections]:
        """Find boxes in pictures (b, 3, h, w) uint8 RGB."""

    def set_prompt(self, prompt: Prompt) -> None:
        """Look for other classes from now on."""

    def to(self, device: str) -> None:
        """Move the network."""


class BoxSegmenter(Protocol):
    """Makes masks from boxes."""

    def segment_boxes(self, pictures: Tensor, boxes_px: Sequence[NDArray]) -> list[NDArray]:
        """Return (n, h, w) bool masks for the (n, 4) boxes of each picture (b, 3, h, w)."""

    def to(self, device: str) -> None:
        """Move the network."""


class BoxPipeline:
    """Detector, suppression of double boxes, then masks from the boxes that are left."""

    def __init__(
        self, detector: Detector, segmenter: BoxSegmenter, options: SegmentationConfig
    ) -> None:
        """Chain two networks; boxes up to the threshold are dropped, then overlapping ones."""
        self._detector, self._segmenter, self._options = detector, segmenter, options

    def run(self, pictures: Tensor) -> list[Candidates]:
        """Find regions in pictures (b, 3, h, w) uint8 RGB."""
        h, w = pictures.shape[-2:]
        kept = [self._keep(found, (h, w)) for found in self._detector.detect(pictures)]
        masks = self._segmenter.segment_boxes(pictures, [found.boxes_px for found in kept])
        return [
            Candidates(
                mask,
                found.class_scores.argmax(axis=1).astype(np.int64),
                found.class_scores.max(axis=1, initial=0.0),
                found.embeddings,
                self._detector.embedding_model_id,
            )
            for found, mask in zip(kept, masks, strict=True)
        ]

    def set_prompt(self, prompt: Prompt) -> None:
        """Look for other classes from now on."""
        self._detector.set_prompt(prompt)

    def to(self, device: str) -> None:
        """Move both networks."""
        self._detector.to(device)
        self._segmenter.to(device)

    def _keep(self, found: Detections, shape: tuple[int, int]) -> Detections:
        """Clip boxes to the picture; drop weak, empty, non-finite and doubled ones."""
        (h, w), options = shape, self._options
        boxes = np.clip(np.nan_to_num(found.boxes_px), 0, np.array([w, h, w, h], np.float32))
        scores = np.nan_to_num(found.class_scores)
        best = scores.max(axis=1, initial=0.0)
        wide = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= 1
        candidates = np.flatnonzero((best > options.box_threshold) & wide)
        candidates = candidates[np.argsort(-best[candidates], kind="stable")]
        classes = scores[candidates].argmax(axis=1)
        kept = suppress_boxes(boxes[candidates], classes, options.nms_overlap)
        chosen = candidates[kept[: options.max_masks]]
        embeddings = None if found.embeddings is None else found.embeddings[chosen]
        return Detections(boxes[chosen], scores[chosen], embeddings)
