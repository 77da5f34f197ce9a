"""Start of a local map where nothing tells the motion: one moving camera, scale unknown."""

from __future__ import annotations

import cv2
import numpy as np

from seg2d3d_ros.clusters.turning import rotation_between
from seg2d3d_ros.clusters.window import LocalFrame, LocalMap
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.pose import RigObservations, refine_rig_pose
from seg2d3d_ros.types import Camera, FloatArray

_MIN_MATCHES = 50
_MIN_PARALLAX_RATIO = 0.018
_NOISE_PX = 0.7
_MIN_INLIERS = 12


def two_view(
    camera: Camera, xy_i: FloatArray, xy_j: FloatArray, typical_depth: float = 15.0
) -> FloatArray | None:
    """Find the motion between two pictures of one camera from matches alone.

    Five-point essential matrix (Nister 2004) with consensus; the unknown scale is chosen so that
    the median depth is `typical_depth`, which keeps thresholds in metres roughly meaningful. Where
    enough has moved, what has not tells nothing: it is fixed to the camera, or too far away.

    Args:
        camera: The camera.
        xy_i: (n, 2) ideal image coordinates in the first picture.
        xy_j: (n, 2) in the second.
        typical_depth: Median depth to scale to.

    Returns:
        T_basei_basej (4, 4), or None with too few matches, no consensus, or too little parallax: a
        turn in place has none.
    """
    if len(xy_i) < _MIN_MATCHES:
        return None
    width = camera.width_px / camera.K[0, 0]
    moved = np.linalg.norm(xy_i - xy_j, axis=1)
    if np.count_nonzero(moved > _MIN_PARALLAX_RATIO * width) >= _MIN_MATCHES:
        told = moved > _NOISE_PX / camera.K[0, 0]
        xy_i, xy_j, moved = xy_i[told], xy_j[told], moved[told]
    if float(np.median(moved)) < _MIN_PARALLAX_RATIO * width:
        return None
    if rotation_between(xy_i, xy_j, float(camera.K[0, 0])) is not None:
        return None
    cv2.setRNGSeed(0)
    threshold = _NOISE_PX / camera.K[0, 0]
    a, b = (np.ascontiguousarray(xy, dtype=np.float64).reshape(-1, 1, 2) for xy in (xy_i, xy_j))
    E, inlier = cv2.findEssentialMat(a, b, np.eye(3), cv2.USAC_MAGSAC, 0.9999, threshold)
    if E is None or E.shape != (3, 3) or int(inlier.sum()) < max(_MIN_MATCHES, 0.5 * len(a)):
        return None
    _, R, t, front, points = cv2.recoverPose(
        E, a, b, cameraMatrix=np.eye(3), distanceThresh=1000.0, mask=inlier.copy()
    )
    good = front[:, 0] > 0
    if good.sum() < 0.7 * inlier.sum():
        return None
    depth = points[2, good] / points[3, good]
    T_camj_cami = transforms.rigid(R, t[:, 0] * typical_depth / float(np.median(depth)))
    T_base_cam = camera.T_base_cam
    return T_base_cam @ transforms.invert(T_camj_cami) @ transforms.invert(T_base_cam)


def motion_between(first: LocalFrame, frame: LocalFrame, founded: LocalMap) -> FloatArray | None:
    """Return T_first_frame (4, 4) by the first camera whose tracks tell it; None if none does."""
    cameras = founded.rig.cameras
    for c in frame.cameras:
        a, b = first.seen.rows(first.seen.camera == c), frame.seen.rows(frame.seen.camera == c)
        _, i, j = np.intersect1d(a.ids, b.ids, return_indices=True)
        T = two_view(cameras[c], founded.normalized(a)[i], founded.normalized(b)[j])
        if T is not None:
            return T
    return None


def locate_between(
    frames: list[LocalFrame], founded: LocalMap, max_reprojection_px: float
) -> None:
    """Locate the frames that waited before and between the two keyframes that founded a map.

    Those before, which lost sight of what the map was founded on, stand where the same motion has
    led from, but no further back than the two keyframes are apart.

    Args:
        frames: They, changed in place; `coasted` where too little of the map is seen. Of those
            before the map the first is a keyframe, on which the others hang.
        founded: The map, with its two keyframes.
        max_reprojection_px: Reprojection error of an inlier.
    """
    first, second = founded.keyframes
    reference = frames[0] if frames and frames[0].is_keyframe else first
    for f in frames:
        ratio = (f.stamp_ns - first.stamp_ns) / max(second.stamp_ns - first.stamp_ns, 1)
        guess = transforms.interpolate(first.T_local_base, second.T_local_base, max(ratio, -1.0))
        points = founded.landmarks.points(f.seen.ids)
        known = np.isfinite(points[:, 0])
        xy = founded.normalized(f.seen)[known]
        obs = RigObservations(founded.rig.cameras, f.seen.camera[known], points[known], xy)
        found = refine_rig_pose(obs, guess, max_reprojection_px)
        ok = found.is_inlier.sum() >= _MIN_INLIERS
        f.T_local_base = found.T_world_base if ok else guess
        f.status = "tracked" if ok else "coasted"
        reference = first if ratio > 0.0 else reference
        f.T_ref_base = transforms.invert(reference.T_local_base) @ f.T_local_base
