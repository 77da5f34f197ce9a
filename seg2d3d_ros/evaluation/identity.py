"""How well ids follow buildings: coverage, purity, fragments, IDF1, switches, by mask identity.

All functions take two arrays of equal length, one entry per mask in order of time: the true
building (0 none) and the predicted id (0 none).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from seg2d3d_ros.types import FloatArray, IntArray

MIN_MASKS = 5
FRAGMENT_SHARE = 0.05
FRAGMENT_MASKS = 2


@dataclass(frozen=True)
class Contingency:
    """Masks counted by true building and predicted id.

    Attributes:
        buildings: (g,) ids of the true buildings.
        ids: (k,) predicted ids.
        counts: (g, k) masks of building i that carry id j.
        num_of_building: (g,) all masks of a building, assigned or not.
        num_of_id: (k,) all masks of an id, of a building or not.
    """

    buildings: IntArray
    ids: IntArray
    counts: IntArray
    num_of_building: IntArray
    num_of_id: IntArray


def count(building: IntArray, predicted: IntArray) -> Contingency:
    """Count masks by building and id; 0 is none on either side and gets no row or column."""
    buildings, row, num_rows = np.unique(building, return_inverse=True, return_counts=True)
    ids, column, num_columns = np.unique(predicted, return_inverse=True, return_counts=True)
    counts = np.zeros((len(buildings), len(ids)), dtype=np.int64)
    np.add.at(counts, (row, column), 1)
    is_building, is_id = buildings != 0, ids != 0
    return Contingency(
        buildings[is_building],
        ids[is_id],
        counts[np.ix_(is_building, is_id)],
        num_rows[is_building],
        num_columns[is_id],
    )


def with_enough_masks(table: Contingency) -> Contingency:
    """Keep the buildings with five masks or more; ids keep all of theirs."""
    keep = table.num_of_building >= MIN_MASKS
    return Contingency(
        table.buildings[keep],
        table.ids,
        table.counts[keep],
        table.num_of_building[keep],
        table.num_of_id,
    )


def coverage_of_buildings(table: Contingency) -> FloatArray:
    """Return per building its masks held by its best single id over all its masks, (g,)."""
    if table.counts.size == 0:
        return np.zeros(len(table.buildings))
    return np.asarray(table.counts.max(axis=1) / table.num_of_building)


def one_to_one_coverage(table: Contingency) -> float:
    """Return the mean coverage when no id may serve two buildings (best such pairing)."""
    if len(table.buildings) == 0:
        return 0.0
    share = table.counts / table.num_of_building[:, None]
    rows, columns = linear_sum_assignment(share, maximize=True)
    return float(share[rows, columns].sum() / len(table.buildings))


def purity(table: Contingency) -> float:
    """Return masks of each id's main building over all assigned masks, summed over ids."""
    total = int(table.num_of_id.sum())
    if total == 0 or table.counts.size == 0:
        return 0.0
    return float(table.counts.max(axis=0).sum() / total)


def fragments_of_buildings(table: Contingency) -> IntArray:
    """Return per building how many ids hold at least 5 % (and two) of its masks, (g,)."""
    floor = np.maximum(FRAGMENT_SHARE * table.num_of_building, FRAGMENT_MASKS)
    return np.asarray((table.counts >= floor[:, None] - 1e-9).sum(axis=1))


def identity_f1(table: Contingency) -> dict[str, float]:
    """Return IDF1, IDP and IDR (Ristani et al. 2016) as TrackEval computes them.

    The one-to-one pairing of buildings and ids that maximises the masks they share gives IDTP;
    IDF1 = 2 IDTP / (masks of buildings + assigned masks).
    """
    rows, columns = linear_sum_assignment(table.counts, maximize=True)
    idtp = float(table.counts[rows, columns].sum())
    num_gt, num_est = float(table.num_of_building.sum()), float(table.num_of_id.sum())
    return {
        "idf1": 2.0 * idtp / max(num_gt + num_est, 1.0),
        "idp": idtp / max(num_est, 1.0),
        "idr": idtp / max(num_gt, 1.0),
    }


def hota(table: Contingency) -> dict[str, float]:
    """Return HOTA, DetA and AssA (Luiten et al. 2021) as TrackEval computes them.

    By mask identity a similarity is 0 or 1, so that all localisation thresholds agree:
    HOTA = sqrt(DetA * AssA), AssA = mean over true positives of TPA / (TPA + FNA + FPA).
    """
    matched = table.counts.astype(np.float64)
    num_true_positive = float(matched.sum())
    num_gt, num_est = float(table.num_of_building.sum()), float(table.num_of_id.sum())
    union = table.num_of_building[:, None] + table.num_of_id[None, :] - matched
    association = matched / np.maximum(union, 1.0)
    det_a = num_true_positive / max(num_gt + num_est - num_true_positive, 1.0)
    ass_a = float((matched * association).sum()) / max(num_true_positive, 1.0)
    return {"hota": float(np.sqrt(det_a * ass_a)), "det_a": det_a, "ass_a": ass_a}


def panoptic_quality(table: Contingency) -> dict[str, float]:
    """Return scene-level PQ, SQ and RQ (Kirillov et al. 2019) with masks in the place of pixels.

    All pictures of the drive make one image: the segment of an id is all its masks. Masks without
    a building are void: left out of unions, and an id more than half void is no false positive.
    """
    num_void = table.num_of_id - table.counts.sum(axis=0)
    union = table.num_of_building[:, None] + (table.num_of_id - num_void)[None, :] - table.counts
    iou = table.counts / np.maximum(union, 1)
    is_match = iou > 0.5
    true_positive = float(is_match.sum())
    false_negative = len(table.buildings) - true_positive
    is_judged = ~is_match.any(axis=0) & (2 * num_void <= table.num_of_id)
    sq = float(iou[is_match].sum()) / max(true_positive, 1.0)
    size = true_positive + 0.5 * float(is_judged.sum()) + 0.5 * false_negative
    rq = true_positive / max(size, 0.5)
    return {"pq": sq * rq, "sq": sq, "rq": rq}


def count_id_switches(building: IntArray, predicted: IntArray, stream: IntArray) -> int:
    """Count how often a building's id differs from that of its last assigned mask in a camera.

    Args:
        building: (n,) true buildings in order of time.
        predicted: (n,) ids.
        stream: (n,) index of the mask's camera: a switch is counted within one camera's pictures.
    """
    assigned = (building != 0) & (predicted != 0)
    b, p, s = building[assigned], predicted[assigned], stream[assigned]
    order = np.lexsort((s, b))
    b, p, s = b[order], p[order], s[order]
    return int(np.count_nonzero((b[1:] == b[:-1]) & (s[1:] == s[:-1]) & (p[1:] != p[:-1])))


def score_identity(
    building: IntArray,
    predicted: IntArray,
    stream: IntArray | None = None,
) -> dict[str, float | int]:
    """Score an assignment of masks by every count of this module.

    Coverage and fragments are means over the true buildings with five masks or more; all
    else is counted over all masks.
    """
    table = count(building, predicted)
    one_stream = np.zeros(len(building), dtype=np.int64)
    judged = with_enough_masks(table)
    num_judged = len(judged.buildings)
    mean_over = max(num_judged, 1)
    return {
        "coverage": float(coverage_of_buildings(judged).sum() / mean_over),
        "coverage_one_to_one": one_to_one_coverage(judged),
        "purity": purity(table),
        "fragments": float(fragments_of_buildings(judged).sum() / mean_over),
        **identity_f1(table),
        **hota(table),
        **panoptic_quality(table),
        "id_switches": count_id_switches(
            building, predicted, one_stream if stream is None else stream
        ),
        "num_instances": len(table.ids),
        "num_buildings": num_judged,
        "num_masks": len(building),
        "num_assigned": int(np.count_nonzero(predicted)),
    }
