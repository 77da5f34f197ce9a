"""Cameras and pixels of COLMAP, and ours."""

from __future__ import annotations

import cv2  # noqa: F401  (must precede pycolmap: the other order aborts inside PNG code)
import numpy as np
import pycolmap

from seg2d3d_ros.errors import CalibrationError
from seg2d3d_ros.types import Camera, Distortion, FloatArray

#: COLMAP's (0, 0) is the corner of the top-left pixel, ours its centre: uv_colmap = uv_px + this.
CORNER_PX = 0.5
# Where the coefficients of each model stand in those of ours.
_MODELS: dict[str, tuple[Distortion, tuple[int, ...], int]] = {
    "SIMPLE_PINHOLE": (Distortion.NONE, (), 0),
    "PINHOLE": (Distortion.NONE, (), 0),
    "SIMPLE_RADIAL": (Distortion.PLUMB_BOB, (0,), 5),
    "RADIAL": (Distortion.PLUMB_BOB, (0, 1), 5),
    "OPENCV": (Distortion.PLUMB_BOB, (0, 1, 2, 3), 5),
    "FULL_OPENCV": (Distortion.RATIONAL_POLYNOMIAL, tuple(range(8)), 8),
    "SIMPLE_FISHEYE": (Distortion.EQUIDISTANT, (), 4),
    "FISHEYE": (Distortion.EQUIDISTANT, (), 4),
    "SIMPLE_RADIAL_FISHEYE": (Distortion.EQUIDISTANT, (0,), 4),
    "RADIAL_FISHEYE": (Distortion.EQUIDISTANT, (0, 1), 4),
    "OPENCV_FISHEYE": (Distortion.EQUIDISTANT, (0, 1, 2, 3), 4),
}


def read_camera(name: str, found: pycolmap.Camera, T_base_cam: FloatArray) -> Camera:
    """Return one of COLMAP's cameras as ours.

    Args:
        name: Name it gets.
        found: The camera.
        T_base_cam: (4, 4) how it is mounted.

    Raises:
        CalibrationError: its lens model is not understood.
    """
    if found.model_name not in _MODELS:
        raise CalibrationError(
            f"camera '{name}' has COLMAP's lens model {found.model_name}; needed is one of "
            f"{', '.join(_MODELS)}: undistort the pictures (colmap image_undistorter)"
        )
    distortion, places, num = _MODELS[found.model_name]
    K = np.array(found.calibration_matrix())
    K[:2, 2] -= CORNER_PX
    D = np.zeros(num)
    D[list(places)] = np.asarray(found.params)[list(found.extra_params_idxs())]
    return Camera(name, found.width, found.height, K, T_base_cam, distortion, D)


def write_camera(camera_id: int, camera: Camera) -> pycolmap.Camera:
    """Return one of our cameras as COLMAP's.

    Raises:
        CalibrationError: it has coefficients of distortion that COLMAP does not know.
    """
    D = np.r_[camera.D, np.zeros(8)] if len(camera.D) < 8 else camera.D
    if len(camera.D) > 8 and np.any(camera.D[8:]):
        raise CalibrationError(
            f"camera '{camera.name}' has {len(camera.D)} coefficients of distortion; COLMAP "
            "knows 8 of them"
        )
    K = camera.K
    params = [K[0, 0], K[1, 1], K[0, 2] + CORNER_PX, K[1, 2] + CORNER_PX]
    model, num = "PINHOLE", 0
    if camera.distortion is Distortion.EQUIDISTANT:
        model, num = "OPENCV_FISHEYE", 4
    elif camera.distortion is not Distortion.NONE:
        model, num = ("FULL_OPENCV", 8) if np.any(D[4:8]) else ("OPENCV", 4)
    return pycolmap.Camera(
        camera_id=camera_id,
        model=model,
        width=camera.width_px,
        height=camera.height_px,
        params=[*params, *D[:num].tolist()],
    )
