"""Bundle adjustment of a rig: arrays in, arrays out.

What is adjusted and how; `ceres_bundle`, `map_bundle` and `local_bundle` solve it.
"""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from seg2d3d_ros.types import Camera, FloatArray, IntArray

ODOMETRY_LOSS, FIX_LOSS = 3.0, 2.0


@dataclass(frozen=True)
class RelativePrior:
    """Odometry between frames, p_i = T_i_j @ p_j; covariance (6, 6) of [rotation, translation]."""

    i: int
    j: int
    T_i_j: FloatArray
    covariance: FloatArray
    is_robust: bool = False


@dataclass(frozen=True)
class PositionPrior:
    """A measured position (3,) of base_link in the world with covariance (3, 3)."""

    frame: int
    position_world: FloatArray
    covariance: FloatArray


@dataclass(frozen=True)
class BundleProblem:
    """What is adjusted.

    Attributes:
        cameras: The rig.
        T_world_base: (f, 4, 4) rig poses.
        is_constant: (f,) poses that stay.
        points_world: (p, 3).
        frame: (m,) frame of each observation.
        camera: (m,) camera of each observation.
        point: (m,) point of each observation.
        uv_ideal_px: (m, 2) undistorted pixels.
        relative: Odometry factors.
        positions: GNSS factors.
    """

    cameras: tuple[Camera, ...]
    T_world_base: FloatArray
    is_constant: np.ndarray
    points_world: FloatArray
    frame: IntArray
    camera: IntArray
    point: IntArray
    uv_ideal_px: FloatArray
    relative: tuple[RelativePrior, ...] = ()
    positions: tuple[PositionPrior, ...] = ()


@dataclass(frozen=True)
class BundleOptions:
    """How it is adjusted.

    Attributes:
        loss_px: Width of the Cauchy loss of reprojection errors.
        max_iterations: Iterations at most.
        function_tolerance: Relative fall of cost to stop at.
        num_threads: Threads.
        sigma_px: What a reprojection error counts as against odometry. The errors along a track
            are alike, so a landmark seen twenty times is not twenty measurements: more than the
            scatter of pixels. The errors of fixes are alike over seconds, too, so that between
            the two of them a pixel counts as one.
        sigma_mount_rad: (c,) how far the rotation of each camera may be from the stated one; 0,
            or no value, holds it. Known to `adjust` of this module only.
    """

    loss_px: float = 1.0
    max_iterations: int = 10
    function_tolerance: float = 1e-4
    num_threads: int = 1
    sigma_px: float = 1.0
    sigma_mount_rad: tuple[float, ...] = ()


@dataclass(frozen=True)
class BundleResult:
    """Adjusted values, the robust cost before and after; rotations (c, 3, 3) if any was free."""

    T_world_base: FloatArray
    points_world: FloatArray
    initial_cost: float
    final_cost: float
    R_base_cam: FloatArray = field(default_factory=lambda: np.zeros((0, 3, 3)))


def adjust(problem: BundleProblem, options: BundleOptions) -> BundleResult:
    """Minimise robust reprojection errors together with odometry and GNSS factors.

    Points that are seen only once or not finite, and poses without observations and factors, stay.

    Returns:
        New poses and points; the input's values where the solve failed or the cost did not fall.
    """
    result: BundleResult = _ceres().adjust(problem, options)
    return result


def _ceres() -> ModuleType:
    """Load Ceres, a tenth of a second that many never need; it takes SIGTERM, which is given back.

    Other threads than the main one cannot give it back: their process loads it before it begins.
    """
    before = signal.getsignal(signal.SIGTERM)
    from seg2d3d_ros.geometry import ceres_bundle

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
    return ceres_bundle
