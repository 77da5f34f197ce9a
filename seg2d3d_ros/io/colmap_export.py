"""A map as a COLMAP model: for viewers, Gaussian splats, neural fields and dense stereo."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pycolmap

from seg2d3d_ros.errors import InputError, ResultError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.io.colmap_camera import CORNER_PX, write_camera
from seg2d3d_ros.mapping.refinement.acceptance import errors_px
from seg2d3d_ros.mapping.refinement.sightings import observed, seen_twice
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, Frame, IntArray, Item

_MAX_ERROR_PX = 4.0


def picture_name(camera: str, stamp_ns: int) -> str:
    """Return how a picture is called in a model that is written, and looked for in one read."""
    return f"{camera}/{stamp_ns}.png"


def write_colmap(state: MapState, folder: str | Path) -> str:
    """Write keyframes, landmarks and where they were seen; return a sentence about them.

    One rig has all cameras, its reference sensor is base_link; the world is the map, in metres
    where its scale is known. Pictures are called `camera/stamp_ns.png`.

    Raises:
        ResultError: the map has no keyframe that saw anything, or the folder cannot be written.
        CalibrationError: a lens is none that COLMAP knows.
    """
    seen = observed(state)
    uv_px = np.concatenate(
        [state.frames[k].uv_px for k in seen.keyframes] or [np.zeros((0, 2), np.float32)]
    )
    error_px = errors_px(state, seen) if seen.keyframes else np.zeros(0)
    point, index, keep = seen_twice(seen.ids, error_px < _MAX_ERROR_PX)
    if not len(point):
        raise ResultError("the map has no landmarks to be written")
    model = pycolmap.Reconstruction()
    _add_rig(model, state)
    picture = seen.frame[keep] * len(state.cameras) + seen.camera[keep]
    place = _add_frames(model, state, seen.keyframes, picture, uv_px[keep] + CORNER_PX)
    _add_points(model, state, point, (index, picture + 1, place))
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        model.write(str(folder))
    except (OSError, ValueError) as error:
        raise ResultError(f"cannot write the COLMAP model {folder}: {error}") from error
    # COLMAP does not look whether its writing succeeds. Its last file tells: a number, then for
    # each point 51 bytes and 8 for each picture of its track.
    needed = 8 + 51 * len(point) + 8 * len(keep)
    if (folder / "points3D.bin").stat().st_size != needed:
        raise ResultError(f"cannot write the COLMAP model {folder}: is the disk full?")
    return f"{model.num_reg_images()} pictures, {model.num_points3D()} points"


def write_pictures(state: MapState, items: Iterable[Item], folder: str | Path) -> int:
    """Write the pictures of all keyframes, as the model calls them; return how many there were.

    Args:
        state: The map.
        items: What its recording holds.
        folder: Folder of the pictures.

    Raises:
        InputError: the recording holds none of them.
    """
    wanted = {
        (state.cameras[c].name, s)
        for f in state.frames
        if f.is_keyframe
        for c, s in zip(f.cameras, f.picture_stamps_ns, strict=True)
    }
    num = 0
    for item in items:
        if isinstance(item, Frame) and (item.camera, item.stamp_ns) in wanted:
            path = Path(folder) / picture_name(item.camera, item.stamp_ns)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(path), item.image):
                raise ResultError(f"cannot write the picture {path}")
            num += 1
    if not num:
        raise InputError(
            f"none of the {len(wanted)} pictures of keyframes is in the recording: give the one "
            "that was mapped"
        )
    return num


def _rigid(T: FloatArray) -> pycolmap.Rigid3d:
    return pycolmap.Rigid3d(np.ascontiguousarray(T[:3]))


def _add_rig(model: pycolmap.Reconstruction, state: MapState) -> None:
    rig = pycolmap.Rig(rig_id=1)
    rig.add_ref_sensor(pycolmap.sensor_t(pycolmap.SensorType.IMU, 1))
    for c, camera in enumerate(state.cameras):
        added = write_camera(c + 1, camera)
        model.add_camera(added)
        rig.add_sensor(added.sensor_id, _rigid(transforms.invert(camera.T_base_cam)))
    model.add_rig(rig)


def _add_frames(
    model: pycolmap.Reconstruction,
    state: MapState,
    keyframes: list[int],
    picture: IntArray,
    uv: FloatArray,
) -> IntArray:
    """Add all keyframes; return the place of each observation (m,) in its picture."""
    place = np.zeros(len(picture), dtype=np.int64)
    order = np.argsort(picture, kind="stable")
    for n, k in enumerate(keyframes):
        f = state.frames[k]
        frame = pycolmap.Frame(frame_id=n + 1, rig_id=1)
        frame.rig_from_world = _rigid(transforms.invert(f.T_world_base))
        images = []
        for c, stamp_ns in zip(f.cameras, f.picture_stamps_ns, strict=True):
            number = n * len(state.cameras) + c
            low, high = np.searchsorted(picture[order], [number, number + 1])
            rows = order[low:high]
            place[rows] = np.arange(len(rows))
            image = pycolmap.Image(
                name=picture_name(state.cameras[c].name, stamp_ns),
                keypoints=uv[rows].astype(np.float64),
                camera_id=c + 1,
                image_id=number + 1,
            )
            image.frame_id = n + 1
            frame.add_data_id(image.data_id)
            images.append(image)
        model.add_frame(frame)
        for image in images:
            model.add_image(image)
    return place


def _add_points(
    model: pycolmap.Reconstruction,
    state: MapState,
    point: IntArray,
    seen: tuple[IntArray, IntArray, IntArray],
) -> None:
    """Add landmarks (p,), seen (m,) each: which landmark, in which picture, at which place."""
    index, image, place = seen
    order = np.argsort(index, kind="stable")
    ends = np.cumsum(np.bincount(index, minlength=len(point)))
    xyz, colors = state.points(point), state.colors(point)
    element = pycolmap.TrackElement
    images, places = image[order].tolist(), place[order].tolist()
    low = 0
    for k, high in enumerate(ends.tolist()):
        track = pycolmap.Track(
            [element(i, j) for i, j in zip(images[low:high], places[low:high], strict=True)]
        )
        added = pycolmap.Point3D(xyz=xyz[k], color=colors[k], track=track)
        model.add_point3D_with_id(int(point[k]) + 1, added)
        low = high
    model.update_point_3d_errors()
