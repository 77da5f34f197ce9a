"""Bundle adjustment of a rig by Ceres.

pycolmap builds the problem, Ceres solves it without the GIL. The rig's reference sensor is
base_link itself, so that every camera has a constant `cam_from_base`, and odometry and GNSS speak
of the pose that is estimated. Pixels are ideal ones (distortion removed) in our own convention on
both sides, so COLMAP's half-pixel shift never enters.
"""

from __future__ import annotations

from dataclasses import replace

import cv2  # noqa: F401  (must precede pycolmap: the other order aborts inside PNG code)
import numpy as np
import pyceres
import pycolmap
from pycolmap import cost_functions

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.bundle import (
    FIX_LOSS,
    ODOMETRY_LOSS,
    BundleOptions,
    BundleProblem,
    BundleResult,
)
from seg2d3d_ros.types import Camera, FloatArray, IntArray

_SIGMA_PLACE_M = 1e-4


def adjust(problem: BundleProblem, options: BundleOptions) -> BundleResult:
    """Solve as `bundle.adjust` says."""
    given, problem = problem, _well_posed(problem)
    rec, images = _reconstruction(problem)
    config = pycolmap.BundleAdjustmentConfig()
    for image in images:
        config.add_image(image)
    for c in range(len(problem.cameras)):
        config.set_constant_cam_intrinsics(c + 1)
    used = set(np.unique(problem.frame).tolist())
    for f in np.flatnonzero(problem.is_constant):
        if int(f) in used:
            config.set_constant_rig_from_world_pose(int(f) + 1)
    adjuster_options = _adjuster_options(options)
    loose = [c for c, sigma in enumerate(options.sigma_mount_rad) if sigma > 0.0]
    adjuster_options.refine_sensor_from_rig = bool(loose)
    for c in set(range(len(problem.cameras))) - set(loose):
        config.set_constant_sensor_from_rig_pose(rec.camera(c + 1).sensor_id)
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(adjuster_options, config, rec)
    ceres_problem = adjuster.problem
    keep_alive = _add_priors(ceres_problem, rec, problem, options.sigma_px)
    for c in sorted(set(loose) & set(problem.camera.tolist())):
        keep_alive += _hold_mount(ceres_problem, rec, problem, c, options.sigma_mount_rad[c])
    solver = adjuster_options.ceres.create_solver_options(config, ceres_problem)
    solver.max_num_iterations = options.max_iterations
    solver.num_threads = options.num_threads
    summary = pyceres.SolverSummary()
    pyceres.solve(solver, ceres_problem, summary)
    del keep_alive
    return _read_back(given, rec, summary, bool(loose))


def _well_posed(problem: BundleProblem) -> BundleProblem:
    """Leave out what COLMAP refuses, and anchor the poses that only factors know."""
    finite = np.isfinite(problem.uv_ideal_px).all(axis=1)
    finite &= np.isfinite(problem.points_world[problem.point]).all(axis=1)
    count = np.bincount(problem.point[finite], minlength=len(problem.points_world))
    rows = finite & (count[problem.point] >= 2)
    is_alone = np.zeros(len(problem.T_world_base), dtype=bool)
    is_alone[_linked(problem)] = True
    is_alone[problem.frame[rows]] = False
    alone = np.flatnonzero(is_alone & ~problem.is_constant)
    # Only COLMAP can give a pose its manifold, and it does so for poses that see something: a
    # point seen twice at one pixel moves along with its pose and so constrains nothing.
    camera = problem.cameras[0]
    ahead = problem.T_world_base[alone] @ camera.T_base_cam @ np.array([0.0, 0.0, 10.0, 1.0])
    new = len(problem.points_world) + np.arange(len(alone))
    center = np.tile(camera.K[:2, 2], (2 * len(alone), 1))
    return replace(
        problem,
        points_world=np.concatenate([problem.points_world, ahead[:, :3]]),
        frame=np.concatenate([problem.frame[rows], np.repeat(alone, 2)]),
        camera=np.concatenate([problem.camera[rows], np.zeros(2 * len(alone), dtype=np.int64)]),
        point=np.concatenate([problem.point[rows], np.repeat(new, 2)]),
        uv_ideal_px=np.concatenate([problem.uv_ideal_px[rows], center]),
    )


def _linked(problem: BundleProblem) -> list[int]:
    """Return the frames that odometry or GNSS speaks of."""
    relative = {f for r in problem.relative for f in (r.i, r.j)}
    return sorted(relative | {p.frame for p in problem.positions})


def _reconstruction(problem: BundleProblem) -> tuple[pycolmap.Reconstruction, list[int]]:
    rec = pycolmap.Reconstruction()
    _add_rig(rec, problem.cameras)
    pictures, keypoint = _pictures(problem)
    T_base_world = transforms.invert(problem.T_world_base)
    images: list[int] = []
    for f in sorted({*pictures, *_linked(problem)}):
        images += _add_frame(rec, problem, f, T_base_world[f], pictures.get(f, []))
    _add_points(rec, problem, keypoint)
    return rec, images


def _add_rig(rec: pycolmap.Reconstruction, cameras: tuple[Camera, ...]) -> None:
    rig = pycolmap.Rig(rig_id=1)
    rig.add_ref_sensor(pycolmap.sensor_t(pycolmap.SensorType.IMU, 1))
    for c, camera in enumerate(cameras):
        model = pycolmap.Camera(
            camera_id=c + 1,
            model="PINHOLE",
            width=camera.width_px,
            height=camera.height_px,
            params=[camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]],
        )
        rec.add_camera(model)
        rig.add_sensor(model.sensor_id, _rigid3d(transforms.invert(camera.T_base_cam)))
    rec.add_rig(rig)


def _pictures(
    problem: BundleProblem,
) -> tuple[dict[int, list[tuple[int, IntArray]]], IntArray]:
    """Group observations by picture: (camera, rows) by frame, and each row's place in its own."""
    order = np.lexsort((problem.camera, problem.frame))
    picture = problem.frame[order] * len(problem.cameras) + problem.camera[order]
    starts = np.flatnonzero(np.diff(picture, prepend=-1))
    keypoint = np.empty(len(order), dtype=np.int64)
    pictures: dict[int, list[tuple[int, IntArray]]] = {}
    for rows in np.split(order, starts[1:]) if len(order) else []:
        keypoint[rows] = np.arange(len(rows))
        frame, camera = int(problem.frame[rows[0]]), int(problem.camera[rows[0]])
        pictures.setdefault(frame, []).append((camera, rows))
    return pictures, keypoint


def _add_frame(
    rec: pycolmap.Reconstruction,
    problem: BundleProblem,
    f: int,
    T_base_world: FloatArray,
    pictures: list[tuple[int, IntArray]],
) -> list[int]:
    frame = pycolmap.Frame(frame_id=f + 1, rig_id=1)
    images = []
    for c, rows in pictures:
        image_id = f * len(problem.cameras) + c + 1
        image = pycolmap.Image(
            name=str(image_id),
            keypoints=problem.uv_ideal_px[rows],
            camera_id=c + 1,
            image_id=image_id,
        )
        image.frame_id = f + 1
        frame.add_data_id(image.data_id)
        images.append(image)
    frame.rig_from_world = _rigid3d(T_base_world)
    rec.add_frame(frame)
    for image in images:
        rec.add_image(image)
    return [image.image_id for image in images]


def _add_points(rec: pycolmap.Reconstruction, problem: BundleProblem, keypoint: IntArray) -> None:
    image = problem.frame * len(problem.cameras) + problem.camera + 1
    order = np.argsort(problem.point, kind="stable")
    counts = np.bincount(problem.point, minlength=len(problem.points_world))
    ends = np.cumsum(counts)
    image_list, keypoint_list = image[order].tolist(), keypoint[order].tolist()
    element = pycolmap.TrackElement
    for p in np.flatnonzero(counts):
        lo, hi = ends[p] - counts[p], ends[p]
        track = pycolmap.Track(
            [element(i, k) for i, k in zip(image_list[lo:hi], keypoint_list[lo:hi], strict=True)]
        )
        rec.add_point3D_with_id(
            int(p) + 1, pycolmap.Point3D(xyz=problem.points_world[p], track=track)
        )


def _adjuster_options(options: BundleOptions) -> pycolmap.BundleAdjustmentOptions:
    out = pycolmap.BundleAdjustmentOptions(print_summary=False)
    out.refine_focal_length = False
    out.refine_extra_params = False
    out.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    out.ceres.loss_function_scale = options.loss_px
    out.ceres.solver_options.max_num_iterations = options.max_iterations
    out.ceres.solver_options.function_tolerance = options.function_tolerance
    out.ceres.solver_options.num_threads = options.num_threads
    return out


def _add_priors(
    ceres_problem: pyceres.Problem,
    rec: pycolmap.Reconstruction,
    problem: BundleProblem,
    sigma_px: float,
) -> list[object]:
    # Costs are in px^2: instead of reprojections weighing 1 / sigma^2, factors weigh sigma^2.
    # COLMAP bakes constant poses into its costs: by a factor they come in as free ones.
    keep: list[object] = []
    for prior in problem.relative:
        cost = cost_functions.RelativePosePriorCost(
            prior.covariance / sigma_px**2, _rigid3d(prior.T_i_j)
        )
        loss = (
            pyceres.CauchyLoss(ODOMETRY_LOSS * sigma_px)
            if prior.is_robust
            else pyceres.TrivialLoss()
        )
        blocks = [rec.frame(f + 1).rig_from_world.params for f in (prior.i, prior.j)]
        ceres_problem.add_residual_block(cost, loss, blocks)
        keep += [cost, loss]
        for f, block in zip((prior.i, prior.j), blocks, strict=True):
            if problem.is_constant[f]:
                ceres_problem.set_parameter_block_constant(block)
    for position in problem.positions:
        cost = cost_functions.AbsolutePosePositionPriorCost(
            position.covariance, position.position_world
        )
        loss = pyceres.CauchyLoss(FIX_LOSS)
        block = rec.frame(position.frame + 1).rig_from_world.params
        ceres_problem.add_residual_block(cost, loss, [block])
        keep += [cost, loss]
        if problem.is_constant[position.frame]:
            ceres_problem.set_parameter_block_constant(block)
    return keep


def _hold_mount(
    ceres_problem: pyceres.Problem,
    rec: pycolmap.Reconstruction,
    problem: BundleProblem,
    c: int,
    sigma_rad: float,
) -> list[object]:
    """Hold the rotation of a camera near the stated one, and its place on the vehicle."""
    T_cam_base = transforms.invert(problem.cameras[c].T_base_cam)
    covariance = np.diag([sigma_rad**2] * 3 + [_SIGMA_PLACE_M**2] * 3)
    cost = cost_functions.AbsolutePosePriorCost(covariance, _rigid3d(T_cam_base))
    loss = pyceres.TrivialLoss()
    # The value itself: `sensor_from_rig` returns a copy.
    block = rec.rig(1).non_ref_sensors[rec.camera(c + 1).sensor_id].params
    ceres_problem.add_residual_block(cost, loss, [block])
    # COLMAP holds all cameras of a rig whose reference sensor, here base_link, takes no pictures.
    ceres_problem.set_parameter_block_variable(block)
    return [cost, loss]


def _read_back(
    problem: BundleProblem,
    rec: pycolmap.Reconstruction,
    summary: pyceres.SolverSummary,
    has_loose_mounts: bool,
) -> BundleResult:
    before, after = float(summary.initial_cost), float(summary.final_cost)
    poses, points = problem.T_world_base.copy(), problem.points_world.copy()
    R_base_cam = np.zeros((0, 3, 3))
    if summary.IsSolutionUsable() and np.isfinite(after) and after <= before:
        for f in rec.frames:
            matrix = np.eye(4)
            matrix[:3] = rec.frame(f).rig_from_world.matrix()
            poses[f - 1] = transforms.invert(matrix)
        for p, point in rec.points3D.items():
            if p <= len(points):
                points[p - 1] = point.xyz
        if has_loose_mounts:
            mounts = rec.rig(1).non_ref_sensors
            found = [mounts[rec.camera(c + 1).sensor_id] for c in range(len(problem.cameras))]
            R_base_cam = np.stack([m.rotation.matrix().T for m in found])
    return BundleResult(poses, points, before, after, R_base_cam)


def _rigid3d(T: FloatArray) -> pycolmap.Rigid3d:
    return pycolmap.Rigid3d(np.ascontiguousarray(T[:3]))
