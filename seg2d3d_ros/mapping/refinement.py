"""Bundle adjustment of the whole map, with odometry and GNSS as factors; accepted only if the cost falls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.geometry import bundle, transforms
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry.triangulation import triangulate
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray

_MAX_ERROR_PX = 2.5
_MIN_PARALLAX_RAD = 0.004
_MAX_RELATIVE_SIGMA = 0.3


@dataclass(frozen=True)
class Observed:
    """Observations of all keyframes in flat arrays: position of the keyframe, camera, landmark, ideal pixel."""

    keyframes: list[int]
    frame: IntArray
    camera: IntArray
    ids: IntArray
    uv_ideal_px: FloatArray


def refine(
    state: MapState, positions: tuple[bundle.PositionPrior, ...], num_threads: int, rounds: int = 2
) -> dict[str, float]:
    """Adjust all keyframes and landmarks together, dropping what disagrees between rounds.

    Args:
        state: The map; changed in place.
        positions: GNSS factors; `frame` is a position in `state.frames`. With any, no pose is held.
        num_threads: Threads of the solver.
        rounds: Adjustments with outlier removal in between.

    Returns:
        Counters: observations used, robust cost before and after.
    """
    seen = _observed(state)
    counts = {"refine_observations": 0.0, "refine_cost_before": 0.0, "refine_cost_after": 0.0}
    if state.rig is None or len(seen.keyframes) < 3:
        return counts
    keep = np.ones(len(seen.ids), dtype=bool)
    for k in range(rounds):
        keep &= _errors_px(state, seen) < (4.0 if k == 0 else 1.0) * _MAX_ERROR_PX
        rows, unique, point = _landmarks_seen_often(seen, keep)
        if len(rows) < 50:
            return counts
        problem = _problem(state, seen, rows, unique, point, positions)
        result = bundle.adjust(problem, bundle.BundleOptions(1.0, 10 if k == 0 else 6, 1e-4, num_threads))
        for index, T in zip(seen.keyframes, result.T_world_base, strict=True):
            state.frames[index].T_world_base = T
        state.set_points(unique, result.points_world)
        counts["refine_observations"] = float(len(rows))
        counts["refine_cost_before"] = counts["refine_cost_before"] or result.initial_cost
        counts["refine_cost_after"] = result.final_cost
    state.settle()
    return counts


def retriangulate(state: MapState) -> int:
    """Find landmarks for the tracks that have none and renew all uncertainties, from every keyframe's rays.

    Returns:
        How many tracks became landmarks.
    """
    seen = _observed(state)
    if state.rig is None or not len(seen.ids):
        return 0
    T_base_cam = np.stack([c.T_base_cam for c in state.rig.cameras])
    T = np.stack([state.frames[k].T_world_base for k in seen.keyframes])[seen.frame] @ T_base_cam[seen.camera]
    K = np.stack([c.K for c in state.rig.cameras])[seen.camera]
    focal = np.stack([K[:, 0, 0], K[:, 1, 1]], axis=1)
    xy = (seen.uv_ideal_px - K[:, :2, 2]) / focal
    rays = np.einsum("nij,nj->ni", T[:, :3, :3], np.c_[xy, np.ones(len(xy))])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    unique, track, count = np.unique(seen.ids, return_inverse=True, return_counts=True)
    found = triangulate(track, T[:, :3, 3], rays, len(unique), 1.0 / float(focal.mean()))
    offset = found.points[track] - T[:, :3, 3]
    cosine = np.einsum("ni,ni->n", offset, rays) / np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
    error = np.arccos(np.clip(np.nan_to_num(cosine, nan=-1.0), -1.0, 1.0)) * focal[:, 0]
    worst, reach = np.zeros(len(unique)), np.zeros(len(unique))
    np.maximum.at(worst, track, error)
    np.maximum.at(reach, track, np.nan_to_num(np.linalg.norm(offset, axis=1)))
    known = np.isfinite(state.points(unique)[:, 0])
    state.set_points(unique[known], state.points(unique[known]), found.sigma_m[known])
    good = ~known & (count >= 3) & found.is_front & (worst < 1.5 * _MAX_ERROR_PX)
    good &= (found.parallax_rad > _MIN_PARALLAX_RAD) & (found.sigma_m < _MAX_RELATIVE_SIGMA * reach)
    state.set_points(unique[good], found.points[good], found.sigma_m[good])
    return int(good.sum())


def _observed(state: MapState) -> Observed:
    keyframes = [k for k, f in enumerate(state.frames) if f.is_keyframe and len(f.ids)]
    assert state.rig is not None or not keyframes
    frame, camera, ids, uv = [], [], [], []
    for position, k in enumerate(keyframes):
        f = state.frames[k]
        ideal = np.zeros((len(f.ids), 2))
        for c in np.unique(f.camera):
            rows = f.camera == c
            ideal[rows] = models.ideal_pixels(state.rig.cameras[c], f.uv_px[rows])  # type: ignore[union-attr]
        frame.append(np.full(len(f.ids), position))
        camera.append(f.camera)
        ids.append(f.ids)
        uv.append(ideal)
    if not keyframes:
        empty = np.zeros(0, dtype=np.int64)
        return Observed([], empty, empty, empty, np.zeros((0, 2)))
    return Observed(keyframes, *(np.concatenate(a) for a in (frame, camera, ids, uv)))


def _errors_px(state: MapState, seen: Observed) -> FloatArray:
    assert state.rig is not None
    T_base_world = np.stack([transforms.invert(state.frames[k].T_world_base) for k in seen.keyframes])
    T_cam_base = np.stack([transforms.invert(c.T_base_cam) for c in state.rig.cameras])
    T = T_cam_base[seen.camera] @ T_base_world[seen.frame]
    p = np.einsum("nij,nj->ni", T[:, :3, :3], state.points(seen.ids)) + T[:, :3, 3]
    K = np.stack([c.K for c in state.rig.cameras])[seen.camera]
    z = np.where(np.abs(p[:, 2]) < 1e-6, 1e-6, p[:, 2])
    uv = p[:, :2] / z[:, None] * np.stack([K[:, 0, 0], K[:, 1, 1]], axis=1) + K[:, :2, 2]
    error = np.linalg.norm(uv - seen.uv_ideal_px, axis=1)
    error[~(p[:, 2] > 0.1)] = np.inf
    return error


def _landmarks_seen_often(seen: Observed, keep: np.ndarray) -> tuple[IntArray, IntArray, IntArray]:
    rows = np.flatnonzero(keep)
    _, index, count = np.unique(seen.ids[rows], return_inverse=True, return_counts=True)
    rows = rows[count[index] >= 2]
    unique, point = np.unique(seen.ids[rows], return_inverse=True)
    return rows, unique, point


def _problem(
    state: MapState,
    seen: Observed,
    rows: IntArray,
    unique: IntArray,
    point: IntArray,
    positions: tuple[bundle.PositionPrior, ...],
) -> bundle.BundleProblem:
    assert state.rig is not None
    place = {k: i for i, k in enumerate(seen.keyframes)}
    used = set(np.unique(seen.frame[rows]).tolist())
    relative = tuple(
        bundle.RelativePrior(place[i], place[j], r.T_i_j, r.covariance, True)
        for (i, j), r in state.odometry.items()
        if place.get(i) in used and place.get(j) in used
    )
    fixes = tuple(
        bundle.PositionPrior(place[p.frame], p.position_world, p.covariance)
        for p in positions
        if place.get(p.frame) in used
    )
    constant = np.zeros(len(seen.keyframes), dtype=bool)
    constant[0] = not fixes
    return bundle.BundleProblem(
        cameras=state.rig.cameras,
        T_world_base=np.stack([state.frames[k].T_world_base for k in seen.keyframes]),
        is_constant=constant,
        points_world=state.points(unique),
        frame=seen.frame[rows],
        camera=seen.camera[rows],
        point=point,
        uv_ideal_px=seen.uv_ideal_px[rows],
        relative=relative,
        positions=fixes,
    )
