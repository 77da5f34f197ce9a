"""Class-agnostic average precision of 3D instances by the rules of the ScanNet benchmark.

The unit is a vertex of the true surface; one `Overlap` holds all that the rules need of a scene.
The rules (thresholds, strict comparison, ignored regions, greedy matching, shape of the
precision-recall curve) are those of ScanNet's `evaluate_semantic_instance.py` with all classes in
one pool.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from seg2d3d_ros.types import FloatArray, IntArray

THRESHOLDS = tuple(np.arange(0.5, 0.95, 0.05).tolist())
"""IoU thresholds of AP and AR: 0.50, 0.55, … 0.90; 0.95 is not among them."""

MIN_VERTICES = 100


@dataclass(frozen=True)
class Overlap:
    """Vertices shared by g true and k predicted instances of one scene.

    Attributes:
        counts: (g, k) vertices in both.
        num_gt: (g,) vertices of each true instance.
        num_est: (k,) vertices of each predicted instance.
        num_void: (k,) vertices of each predicted instance that belong to no true instance.
        scores: (k,) confidence.
    """

    counts: IntArray
    num_gt: IntArray
    num_est: IntArray
    num_void: IntArray
    scores: FloatArray

    @property
    def iou(self) -> FloatArray:
        """Return intersection over union, (g, k)."""
        union = self.num_gt[:, None] + self.num_est[None, :] - self.counts
        return np.asarray(self.counts / np.maximum(union, 1))


@dataclass(frozen=True)
class _Detections:
    """What counts at one threshold: m predictions, true or false, and true ones not found."""

    is_true: FloatArray
    scores: FloatArray
    num_missed: int


def build_overlap(gt: IntArray, est: IntArray, scores: dict[int, float]) -> Overlap:
    """Count the overlap of two labellings of the same vertices, 0 = none.

    Args:
        gt: (v,) true instance of each vertex.
        est: (v,) predicted instance of each vertex.
        scores: Confidence by predicted instance; 0 where it is missing.
    """
    gt_ids, row = np.unique(gt, return_inverse=True)
    est_ids, column = np.unique(est, return_inverse=True)
    counts = np.zeros((len(gt_ids), len(est_ids)), dtype=np.int64)
    np.add.at(counts, (row, column), 1)
    is_est = est_ids != 0
    void = counts[gt_ids == 0].sum(axis=0)
    return Overlap(
        counts[np.ix_(gt_ids != 0, is_est)],
        counts[gt_ids != 0].sum(axis=1),
        counts[:, is_est].sum(axis=0),
        void[is_est],
        np.array([scores.get(int(i), 0.0) for i in est_ids[is_est]], dtype=np.float64),
    )


def score_instances(overlap: Overlap) -> dict[str, float | int | None]:
    """Compute AP, AP50, AP25, AR, RC50, RC25, and the same APs with every confidence 1.

    With uniform confidence the curve has one point and AP = R (1 + P) / 2, which rewards
    over-proposing: precision at IoU 0.5 stands beside it. True instances of less than 100 vertices
    are ignored, such predictions dropped. Without any true instance left the scores are None.
    """
    kept = _drop_small_predictions(overlap)
    num_gt = int((kept.num_gt >= MIN_VERTICES).sum())
    score: dict[str, float | int | None] = {"num_gt": num_gt, "num_est": len(kept.num_est)}
    uniform = replace(kept, scores=np.ones(len(kept.scores)))
    for suffix, some in (("", kept), ("_uniform", uniform)):
        curves = {t: _score_at(some, t) for t in (*THRESHOLDS, 0.25)}
        mean = np.mean([curves[t] for t in THRESHOLDS], axis=0)
        score[f"ap{suffix}"] = float(mean[0])
        score[f"ap50{suffix}"] = curves[0.5][0]
        score[f"ap25{suffix}"] = curves[0.25][0]
        if not suffix:
            score["ar"] = float(mean[1])
            score["rc50"], score["rc25"] = curves[0.5][1], curves[0.25][1]
            score["precision50"] = curves[0.5][2]
    if num_gt == 0:
        return {k: v if k.startswith("num_") else None for k, v in score.items()}
    return score


def _drop_small_predictions(scene: Overlap) -> Overlap:
    keep = scene.num_est >= MIN_VERTICES
    return replace(
        scene,
        counts=scene.counts[:, keep],
        num_est=scene.num_est[keep],
        num_void=scene.num_void[keep],
        scores=scene.scores[keep],
    )


def _score_at(scene: Overlap, threshold: float) -> tuple[float, float, float]:
    """Return average precision, recall and precision of all predictions at one IoU threshold."""
    found = _match(scene, threshold)
    if len(found.is_true) == 0:
        return 0.0, 0.0, 0.0
    num_true = float(found.is_true.sum())
    recall = num_true / max(num_true + found.num_missed, 1.0)
    ap = _area_under_curve(found.is_true, found.scores, found.num_missed)
    return ap, recall, num_true / len(found.is_true)


def _match(scene: Overlap, threshold: float) -> _Detections:
    """Match greedily in order of true instances; a second hit is false, with the lower score."""
    iou = scene.iou
    judged = np.flatnonzero(scene.num_gt >= MIN_VERTICES)
    visited = np.zeros(len(scene.num_est), dtype=bool)
    matched: list[float] = []
    false: list[float] = []
    num_missed = 0
    for g in judged:
        best: float | None = None
        for k in np.flatnonzero((iou[g] > threshold) & ~visited):
            score = float(scene.scores[k])
            if best is None:
                best = score
                visited[k] = True
            else:
                best, lower = max(best, score), min(best, score)
                false.append(lower)
        if best is None:
            num_missed += 1
        else:
            matched.append(best)
    ignored = scene.num_void + scene.counts[scene.num_gt < MIN_VERTICES].sum(axis=0)
    is_unmatched = ~(iou > threshold).any(axis=0)
    is_false = is_unmatched & (ignored / np.maximum(scene.num_est, 1) <= threshold)
    false.extend(scene.scores[is_false].tolist())
    is_true = np.concatenate([np.ones(len(matched)), np.zeros(len(false))])
    return _Detections(is_true, np.array(matched + false, dtype=np.float64), num_missed)


def _area_under_curve(is_true: FloatArray, scores: FloatArray, num_missed: int) -> float:
    """Return Σ precision * step, steps being half the recall between both neighbours."""
    order = np.argsort(scores, kind="stable")
    is_true, scores = is_true[order], scores[order]
    _, first = np.unique(scores, return_index=True)
    before = np.concatenate([[0.0], np.cumsum(is_true)])
    true_above = before[-1] - before[first]
    false_above = len(scores) - first - true_above
    missed = before[first] + num_missed
    precision = np.append(true_above / (true_above + false_above), 1.0)
    recall = np.append(true_above / np.maximum(true_above + missed, 1e-300), 0.0)
    padded = np.concatenate([recall[:1], recall, [0.0]])
    steps = np.convolve(padded, [-0.5, 0.0, 0.5], "valid")
    return float(precision @ steps)
