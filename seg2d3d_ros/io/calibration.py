"""Cameras from calibration messages: sensor_msgs/CameraInfo into `Camera`."""

from __future__ import annotations

from typing import Any

import numpy as np

from seg2d3d_ros.errors import CalibrationError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Camera, Distortion, FloatArray

_MODELS = {
    "": Distortion.PLUMB_BOB,
    "none": Distortion.NONE,
    "plumb_bob": Distortion.PLUMB_BOB,
    "radtan": Distortion.PLUMB_BOB,
    "rational_polynomial": Distortion.RATIONAL_POLYNOMIAL,
    "equidistant": Distortion.EQUIDISTANT,
    "fisheye": Distortion.EQUIDISTANT,
}
_NUM_COEFFICIENTS = {
    Distortion.PLUMB_BOB: (4, 5),
    Distortion.RATIONAL_POLYNOMIAL: (8, 12, 14),
    Distortion.EQUIDISTANT: (4,),
}


def camera_from_info(
    name: str, message: Any, is_rectified: bool, size_px: tuple[int, int] | None = None
) -> Camera:
    """Return the camera that a CameraInfo describes, with T_base_cam left at identity.

    Raw pictures use K and D, rectified ones P and no distortion. Pictures that are cropped by the
    message's region of interest or binned by an exact ratio get their own K.

    Args:
        name: Camera name.
        message: sensor_msgs/CameraInfo.
        is_rectified: The pictures are rectified.
        size_px: (width, height) of the pictures; None or no exact ratio: as the message says.

    Raises:
        CalibrationError: the numbers cannot be those of a camera.
    """
    P = np.asarray(message.p, dtype=float).reshape(3, 4)
    K = (
        P[:, :3].copy()
        if is_rectified
        else np.asarray(message.k, dtype=float).reshape(3, 3).copy()
    )
    width, height = int(message.width), int(message.height)
    _check_intrinsics(name, "P" if is_rectified else "K", K, (width, height))
    distortion, D = (Distortion.NONE, np.zeros(0)) if is_rectified else _distortion(name, message)
    if size_px is not None:
        K, width, height = fit_to_size(K, message, size_px)
    return Camera(name, width, height, K, np.eye(4), distortion, D)


def _check_intrinsics(name: str, which: str, K: FloatArray, size_px: tuple[int, int]) -> None:
    if min(size_px) <= 0:
        raise CalibrationError(
            f"camera '{name}': camera_info says {size_px[0]}x{size_px[1]} pixels"
        )
    if not np.isfinite(K).all():
        raise CalibrationError(
            f"camera '{name}': {which} of its camera_info holds NaN or infinity"
        )
    if K[0, 0] <= 0 or K[1, 1] <= 0:
        raise CalibrationError(
            f"camera '{name}': {which} of its camera_info has focal lengths {K[0, 0]:g}, "
            f"{K[1, 1]:g}; they must be positive (zero means uncalibrated). Calibrate the camera"
        )


def _distortion(name: str, message: Any) -> tuple[Distortion, FloatArray]:
    D = np.asarray(message.d, dtype=float).ravel()
    if not np.isfinite(D).all():
        raise CalibrationError(f"camera '{name}': D of its camera_info holds NaN or infinity")
    model = _MODELS.get(message.distortion_model.lower())
    if model is None:
        known = ", ".join(m for m in _MODELS if m)
        raise CalibrationError(
            f"camera '{name}': distortion model '{message.distortion_model}' is unknown; "
            f"known: {known}"
        )
    if model is Distortion.NONE or (model is not Distortion.EQUIDISTANT and not D.any()):
        return Distortion.NONE, np.zeros(0)
    if not len(D):
        D = np.zeros(4)
    if len(D) not in _NUM_COEFFICIENTS[model]:
        raise CalibrationError(
            f"camera '{name}': {len(D)} coefficients of '{model}'; "
            f"needed: {_NUM_COEFFICIENTS[model]}"
        )
    return model, D


def fit_to_size(
    K: FloatArray, message: Any, size_px: tuple[int, int]
) -> tuple[FloatArray, int, int]:
    """Return K, width and height for pictures of the given size.

    A pixel centre u of the full picture is (u + 0.5) / k - 0.5 in one binned by k. If the size is
    no exact ratio of the message's (or its region of interest), K and size stay as they are.
    """
    full = (int(message.width), int(message.height))
    roi = (int(message.roi.width), int(message.roi.height))
    if size_px == full:
        return K, *full
    for whole, offset in (
        (full, (0, 0)),
        (roi, (int(message.roi.x_offset), int(message.roi.y_offset))),
    ):
        ratio = _ratio(whole, size_px, (int(message.binning_x), int(message.binning_y)))
        if ratio is not None:
            fitted = K.copy()
            fitted[0, 2] = (K[0, 2] - offset[0] + 0.5) / ratio[0] - 0.5
            fitted[1, 2] = (K[1, 2] - offset[1] + 0.5) / ratio[1] - 0.5
            fitted[0, 0], fitted[1, 1] = K[0, 0] / ratio[0], K[1, 1] / ratio[1]
            fitted[0, 1] = K[0, 1] / ratio[0]
            return fitted, *size_px
    return K, *full


def _ratio(
    whole: tuple[int, int], size_px: tuple[int, int], binning: tuple[int, int]
) -> tuple[int, int] | None:
    if min(whole) <= 0 or min(size_px) <= 0 or whole[0] % size_px[0] or whole[1] % size_px[1]:
        return None
    ratio = (whole[0] // size_px[0], whole[1] // size_px[1])
    return ratio if ratio[0] == ratio[1] or ratio == binning else None


def rectification(message: Any) -> FloatArray:
    """Return T_rect_cam (4, 4) of a CameraInfo's R; identity where R is no rotation (zero)."""
    R = np.asarray(message.r, dtype=float).reshape(3, 3)
    is_rotation = np.isfinite(R).all() and np.allclose(R @ R.T, np.eye(3), atol=1e-4)
    return transforms.rigid(R if is_rotation else np.eye(3), np.zeros(3))


def baseline(P: FloatArray) -> FloatArray:
    """Return the camera's centre -t (3,) in the frame of the projection P = K [I | t]."""
    t = np.linalg.solve(P[:, :3], P[:, 3])
    return np.asarray(-t + 0.0, dtype=np.float64)
