"""What is known of each building: extent, views, score."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.mapping.surface.boxes import corners
from seg2d3d_ros.types import FloatArray, Instance, Mask, MaskAssignment, View

_NUM_VIEWS = 3
_STRAY_RATIO = 2.5
_LEAST_SPREAD_M = 0.3
_UNSURE_M = 1.0
_SHARP = 0.25


@dataclass
class Support:
    """Masks assigned to one instance, summed up."""

    stamps: set[int] = field(default_factory=set)
    num_masks: int = 0
    score_sum: float = 0.0
    classes: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    embeddings: dict[str, FloatArray] = field(default_factory=dict)
    embedding_weights: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    views: list[tuple[float, View]] = field(default_factory=list)

    def add(self, assignment: MaskAssignment, mask: Mask, area_px: float) -> None:
        """Count a mask; its vote weighs as much as it is sure of itself and of the instance."""
        self.stamps.add(assignment.stamp_ns)
        self.num_masks += 1
        self.score_sum += assignment.score
        weight = mask.score * assignment.score
        self.classes[assignment.class_id] += weight
        if mask.embedding is not None:
            self._add_embedding(mask.embedding_model_id, mask.embedding, weight)
        if mask.crop_jpeg:
            view = View(assignment.camera, assignment.stamp_ns, assignment.label, mask.crop_jpeg)
            self._add_views([(area_px * assignment.score, view)])

    @staticmethod
    def joined(parts: Iterable[Support]) -> Support:
        """Return what parts, with no mask in common, say together."""
        out = Support()
        for part in parts:
            out.stamps |= part.stamps
            out.num_masks += part.num_masks
            out.score_sum += part.score_sum
            for class_id, weight in part.classes.items():
                out.classes[class_id] += weight
            for model, vector in part.embeddings.items():
                out._add_vector(model, vector, part.embedding_weights[model])
            out._add_views(part.views)
        return out

    def _add_views(self, views: list[tuple[float, View]]) -> None:
        self.views += views
        self.views.sort(key=lambda v: (-v[0], v[1].stamp_ns, v[1].camera))
        del self.views[_NUM_VIEWS:]

    def _add_embedding(self, model: str, embedding: NDArray[np.float32], weight: float) -> None:
        self._add_vector(model, weight * np.asarray(embedding, dtype=np.float64), weight)

    def _add_vector(self, model: str, vector: FloatArray, weight: float) -> None:
        before = self.embeddings.get(model)
        # Vectors of different lengths cannot be of one model, whatever it is called.
        if before is None or len(before) == len(vector):
            self.embeddings[model] = vector if before is None else before + vector
            self.embedding_weights[model] += weight

    @property
    def class_id(self) -> int:
        """Return the class with most votes; 0, class-agnostic, only where no other has any."""
        named = {c: w for c, w in self.classes.items() if c != 0 and w > 0.0}
        return min(named, key=lambda c: (-named[c], c), default=0)

    @property
    def embedding(self) -> tuple[NDArray[np.float32] | None, str]:
        """Return the weighted mean (d,) of the features of the model with most weight, and it."""
        weights = self.embedding_weights
        model = min(weights, key=lambda m: (-weights[m], m), default="")
        if not weights.get(model):
            return None, ""
        return (self.embeddings[model] / weights[model]).astype(np.float32), model


def describe(
    instance_id: int, points_map: FloatArray, sigma_m: FloatArray, support: Support
) -> Instance:
    """Sum an instance up from its landmarks (n, 3) and its masks.

    The oriented box and the footprint leave out stray points: those much further from the median
    than most, along the building's own axes. A corner of the footprint is as uncertain as the
    landmarks are, and as the gap between the last landmark and the building's end is wide: of n
    landmarks spread over a length L the outermost one lies L / (n + 1) inside, on average. The
    score is that of the masks, less where there are few, few landmarks, or uncertain ones: half of
    it is left where the best quarter of them scatters over up to a metre.
    """
    inner = _without_strays(points_map)
    center_xy, (length, width), yaw = _rectangle(inner[:, :2])
    bottom, top = float(inner[:, 2].min()), float(inner[:, 2].max())
    embedding, model = support.embedding
    sharp, noise = np.quantile(np.minimum(sigma_m, 10.0), [_SHARP, 0.5]).tolist()
    mean_score = support.score_sum / max(support.num_masks, 1)
    evidence = _saturated(len(support.stamps), 8) * _saturated(len(points_map), 40)
    evidence /= 1.0 + (sharp / _UNSURE_M) ** 2
    return Instance(
        id=instance_id,
        class_id=support.class_id,
        score=float(mean_score * evidence),
        num_points=len(points_map),
        num_views=support.num_masks,
        first_stamp_ns=min(support.stamps, default=0),
        last_stamp_ns=max(support.stamps, default=0),
        centroid_map=np.median(points_map, axis=0),
        box_center_map=np.array([*center_xy, (bottom + top) / 2.0]),
        box_size_m=np.array([length, width, top - bottom]),
        box_yaw_rad=yaw,
        footprint_map=corners(center_xy, length, width, yaw),
        sigma_m=float(
            np.sqrt(np.mean(np.square(np.minimum(sigma_m, 10.0))) / max(len(points_map), 1))
        ),
        best_views=tuple(v for _, v in support.views),
        embedding=embedding,
        embedding_model_id=model,
        footprint_sigma_m=float(np.hypot(noise, length / (len(inner) + 1))),
    )


def _without_strays(points: FloatArray) -> FloatArray:
    """Return the points (m, 3) of (n, 3) within a few typical deviations along their main axes."""
    centered = points - np.median(points, axis=0)
    spread = np.linalg.norm(centered[:, :2], axis=1)
    core = centered[spread <= np.quantile(spread, 0.8), :2]
    _, axes = np.linalg.eigh(core.T @ core)
    along = np.abs(np.column_stack([centered[:, :2] @ axes, centered[:, 2]]))
    typical = np.maximum(np.quantile(along, 0.7, axis=0), _LEAST_SPREAD_M)
    inner = points[(along <= _STRAY_RATIO * typical).all(axis=1)]
    return inner if len(inner) >= 3 else points


def _rectangle(xy: FloatArray) -> tuple[FloatArray, tuple[float, float], float]:
    origin = xy.mean(axis=0)
    (u, v), (a, b), angle = cv2.minAreaRect((xy - origin).astype(np.float32))
    yaw = np.deg2rad(angle)
    if a < b:
        a, b, yaw = b, a, yaw + np.pi / 2.0
    yaw = (yaw + np.pi / 2.0) % np.pi - np.pi / 2.0
    return origin + [u, v], (float(a), float(b)), float(yaw)


def _saturated(num: int, enough: int) -> float:
    """Return how much a number of witnesses counts, 0.63 for `enough` of them, at most 1."""
    return float(1.0 - np.exp(-num / enough))
