"""What is fixed to the camera: the own bonnet, drops and dirt on the glass, a date in the picture.

Whatever stands in the world moves in the picture when the camera turns, however far away it is.
"""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.clusters.exclusion import Exclusion
from seg2d3d_ros.clusters.window import LocalFrame, LocalMap, Seen
from seg2d3d_ros.types import FloatArray

_STAYS_PX = 0.7
_TURNED_PX = 4.0
_MIN_COMPARED = 2
# One alone may be chance.
_MIN_AT_ONCE = 2


def end_fixed(known: LocalMap, exclusion: Exclusion) -> None:
    """Take what is fixed to a camera from the newest keyframes, and let no track begin there."""
    newest = known.keyframes[-1]
    is_fixed = _is_fixed(known)
    ended = np.unique(newest.seen.ids[is_fixed])
    if len(ended) < _MIN_AT_ONCE:
        return
    for c, stamp_ns in zip(newest.cameras, newest.picture_stamps_ns, strict=True):
        lens = known.rig.cameras[c]
        uv_px = newest.seen.uv_px[is_fixed & (newest.seen.camera == c)]
        exclusion.hold(c, stamp_ns, uv_px, (lens.height_px, lens.width_px))
    for frame in known.window():
        frame.seen.keep(~np.isin(frame.seen.ids, ended))
    known.landmarks.forget(ended)


def _is_fixed(known: LocalMap) -> np.ndarray:
    """Return which rows (n,) of the newest keyframe stayed in place in the window.

    By at most 0.7 px, since two keyframes and more, between which the rig turned so that the
    farthest things moved by 4 px and more.
    """
    *before, newest = known.window()
    seen = newest.seen
    turned_px, compared = np.zeros(len(seen.ids)), np.zeros(len(seen.ids), dtype=np.int64)
    left = np.arange(len(seen.ids))  # have stayed so far: most things move from one to the next
    for frame in reversed(before):
        then_by, now_by = (s.ids * len(known.rig.cameras) + s.camera for s in (frame.seen, seen))
        _, i, j = np.intersect1d(then_by, now_by[left], return_indices=True)
        rows, then = left[j], frame.seen.rows(i)
        stays = np.linalg.norm(then.uv_px - seen.uv_px[rows], axis=1) < _STAYS_PX
        left = np.setdiff1d(left, rows[~stays], assume_unique=True)
        rows, then = rows[stays], then.rows(stays)
        turned_px[rows] = np.maximum(turned_px[rows], _turned_px(known, frame, newest, then))
        compared[rows] += 1
    is_fixed = np.zeros(len(seen.ids), dtype=bool)
    is_fixed[left] = (turned_px[left] > _TURNED_PX) & (compared[left] >= _MIN_COMPARED)
    return is_fixed


def _turned_px(known: LocalMap, frame: LocalFrame, newest: LocalFrame, then: Seen) -> FloatArray:
    """Return by how much (n,) the turn since a frame moved what is infinitely far."""
    R_base_cam = np.stack([c.T_base_cam[:3, :3] for c in known.rig.cameras])[then.camera]
    R_newest_frame = newest.T_local_base[:3, :3].T @ frame.T_local_base[:3, :3]
    rays = known.rays_base(then)[1] @ R_newest_frame.T
    now = np.einsum("nji,nj->ni", R_base_cam, rays)
    focal_px = np.array([c.K[0, 0] for c in known.rig.cameras])[then.camera]
    far: FloatArray = focal_px * np.linalg.norm(
        now[:, :2] / now[:, 2:] - known.normalized(then), axis=1
    )
    return far
