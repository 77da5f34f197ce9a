"""How good a trajectory is: absolute and relative error, and what a straight line scores."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.geometry.alignment import align_points
from seg2d3d_ros.geometry.transforms import apply, interpolate_many, invert, path_distances
from seg2d3d_ros.types import FloatArray, IntArray

MAX_STAMP_DIFFERENCE_NS = 20_000_000
RPE_LENGTH_M = 10.0


class Align(StrEnum):
    """What is taken out before positions are compared: three different claims."""

    NONE = "none"
    SE3 = "se3"
    SIM3 = "sim3"


@dataclass(frozen=True)
class Poses:
    """A trajectory to compare: n poses of one body in one world frame.

    Attributes:
        stamps_ns: (n,) increasing.
        T_world_body: (n, 4, 4), metres.
    """

    stamps_ns: IntArray
    T_world_body: FloatArray

    def __len__(self) -> int:
        """Return the number of poses."""
        return len(self.stamps_ns)

    @property
    def positions(self) -> FloatArray:
        """Return the positions in the world frame, (n, 3)."""
        return np.asarray(self.T_world_body[:, :3, 3])

    @property
    def path_length_m(self) -> float:
        """Return the length of the polyline through all positions."""
        return float(path_distances(self.positions)[-1]) if len(self) else 0.0


def associate(est: Poses, gt: Poses) -> tuple[Poses, Poses]:
    """Pair each true pose with the estimated pose nearest in time; each estimate is used once.

    Pairs are at most 20 ms apart.

    Returns:
        The estimates and the true poses that have a partner, of equal length, in order of time.
    """
    if len(est) == 0 or len(gt) == 0:
        return _take(est, np.zeros(0, np.int64)), _take(gt, np.zeros(0, np.int64))
    right = np.clip(np.searchsorted(est.stamps_ns, gt.stamps_ns), 1, max(len(est) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(est) - 1)
    off_left = np.abs(gt.stamps_ns - est.stamps_ns[left])
    off_right = np.abs(gt.stamps_ns - est.stamps_ns[right])
    nearest = np.where(off_left <= off_right, left, right)
    off = np.minimum(off_left, off_right)
    order = np.lexsort((off, nearest))
    first = np.ones(len(order), dtype=bool)
    first[1:] = nearest[order][1:] != nearest[order][:-1]
    index_gt = np.sort(order[first])
    index_gt = index_gt[off[index_gt] <= MAX_STAMP_DIFFERENCE_NS]
    return _take(est, nearest[index_gt]), _take(gt, index_gt)


def _take(poses: Poses, index: IntArray) -> Poses:
    return Poses(poses.stamps_ns[index], poses.T_world_body[index])


def alignment(est: Poses, gt: Poses, align: Align) -> FloatArray:
    """Return the least-squares (4, 4) S_gt_est of the paired positions (Umeyama 1991)."""
    if align == Align.NONE:
        return np.eye(4)
    fit = align_points(gt.positions, est.positions, with_scale=align == Align.SIM3)
    return fit.S_a_b


def absolute_errors_m(est: Poses, gt: Poses, align: Align) -> FloatArray:
    """Return the distance of each aligned estimate from its true position, (n,) metres."""
    S_gt_est = alignment(est, gt, align)
    return np.linalg.norm(apply(S_gt_est, est.positions) - gt.positions, axis=1)


def pairs_by_length(gt: Poses) -> IntArray:
    """Return for each pose the first one at least 10 m of true path ahead; (k, 2)."""
    travelled = path_distances(gt.positions)
    end = np.searchsorted(travelled, travelled + RPE_LENGTH_M * (1.0 - 1e-9))
    start = np.arange(len(gt))
    inside = end < len(gt)
    return np.stack([start[inside], end[inside]], axis=1)


def relative_errors(
    est: Poses, gt: Poses, pairs: IntArray, scale: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    """Compare the motion between the two poses of each pair (Sturm et al. 2012, eq. 1).

    E = (Q_i^-1 Q_j)^-1 (P_i^-1 P_j) with truth Q and estimate P, whose translations are first
    multiplied by `scale`.

    Returns:
        Translation errors in metres and rotation errors in degrees, each (k,).
    """
    scaled = est.T_world_body.copy()
    scaled[:, :3, 3] *= scale
    i, j = pairs[:, 0], pairs[:, 1]
    motion_est = invert(scaled[i]) @ scaled[j]
    motion_gt = invert(gt.T_world_body[i]) @ gt.T_world_body[j]
    error = invert(motion_gt) @ motion_est
    return np.linalg.norm(error[:, :3, 3], axis=1), rotation_angles_deg(error[:, :3, :3])


def rotation_angles_deg(R: FloatArray) -> FloatArray:
    """Return the angles of rotations (k, 3, 3), exact near zero too."""
    skew = R - np.swapaxes(R, -1, -2)
    sine = np.linalg.norm(skew, axis=(-2, -1)) / np.sqrt(8.0)
    cosine = (np.trace(R, axis1=-2, axis2=-1) - 1.0) / 2.0
    return np.asarray(np.degrees(np.arctan2(sine, cosine)))


def straight_line(gt: Poses) -> Poses:
    """Return a drive straight ahead at constant speed that looks at no picture.

    It knows the stamps and, of the truth, one number: the mean speed.
    """
    seconds = (gt.stamps_ns - gt.stamps_ns[0]) * 1e-9
    duration = max(float(seconds[-1]), 1e-9)
    T = np.tile(np.eye(4), (len(gt), 1, 1))
    T[:, 0, 3] = seconds * gt.path_length_m / duration
    return Poses(gt.stamps_ns, T)


def resample(poses: Poses, stamps_ns: IntArray) -> Poses:
    """Interpolate a trajectory at those of the stamps that lie inside its span."""
    if len(poses) == 0:
        return poses
    inside = (stamps_ns >= poses.stamps_ns[0]) & (stamps_ns <= poses.stamps_ns[-1])
    stamps = stamps_ns[inside]
    return Poses(stamps, interpolate_many(poses.stamps_ns, poses.T_world_body, stamps))


def score_trajectory(
    est: Poses, gt: Poses, is_metric: bool = True
) -> dict[str, float | int | None]:
    """Score a trajectory against the truth.

    Args:
        est: Estimated poses of the same body.
        gt: True poses, one per picture stamp.
        is_metric: The estimate claims metres; else relative errors use the similarity's scale.

    Returns:
        Counts; `ate_<align>_m` root mean square after no, rigid and similarity alignment and the
        same in per cent of the true path; `scale` (metres per unit of the estimate; 1 is right);
        relative errors over 10 m of path: translation in per cent of the pair's path, rotation in
        degrees. None where fewer than three poses or no pair exist.

    Raises:
        InputError: the truth holds fewer than two poses.
    """
    if len(gt) < 2:
        raise InputError(f"the true trajectory has {len(gt)} poses; at least 2 are needed")
    paired_est, paired_gt = associate(est, gt)
    score: dict[str, float | int | None] = {
        "num_poses": len(paired_est),
        "num_stamps": len(gt),
        "path_length_m": gt.path_length_m,
    }
    enough = len(paired_est) >= 3
    for align in Align:
        error = absolute_errors_m(paired_est, paired_gt, align) if enough else None
        ate = None if error is None else float(np.sqrt(np.mean(error**2)))
        score[f"ate_{align}_m"] = ate
        score[f"ate_{align}_percent"] = None if ate is None else 100.0 * ate / gt.path_length_m
    S = alignment(paired_est, paired_gt, Align.SIM3)
    scale = float(np.cbrt(np.linalg.det(S[:3, :3])))
    score["scale"] = scale if enough else None
    score.update(_relative_scores(paired_est, paired_gt, 1.0 if is_metric else scale))
    return score


def _relative_scores(est: Poses, gt: Poses, scale: float) -> dict[str, float | int | None]:
    pairs = pairs_by_length(gt)
    score: dict[str, float | int | None] = {
        "rpe_length_m": RPE_LENGTH_M,
        "rpe_num_pairs": len(pairs),
    }
    if len(pairs) == 0:
        return score | {
            "rpe_translation_percent": None,
            "rpe_rotation_deg": None,
            "rpe_rotation_max_deg": None,
        }
    travelled = path_distances(gt.positions)
    lengths = travelled[pairs[:, 1]] - travelled[pairs[:, 0]]
    translation_m, rotation_deg = relative_errors(est, gt, pairs, scale)
    return score | {
        "rpe_translation_percent": float(np.mean(100.0 * translation_m / lengths)),
        "rpe_rotation_deg": float(np.mean(rotation_deg)),
        "rpe_rotation_max_deg": float(np.max(rotation_deg)),
    }
