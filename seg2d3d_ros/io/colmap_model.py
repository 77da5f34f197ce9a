"""A COLMAP reconstruction as clusters: what another backend mapped, to be aligned with a map."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pycolmap

from seg2d3d_ros.clusters.descriptors import TYPICAL_DEPTH_M, describe, patch_px
from seg2d3d_ros.config import ClustersConfig
from seg2d3d_ros.errors import InputError
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.triangulation import triangulate
from seg2d3d_ros.io.colmap_camera import CORNER_PX, read_camera
from seg2d3d_ros.mapping.refinement.sightings import seen_twice
from seg2d3d_ros.types import (
    Camera,
    Cluster,
    FloatArray,
    IntArray,
    Keyframe,
    Landmarks,
    Observations,
    Rig,
)

_STEP_NS = 100_000_000
_NANOSECONDS = re.compile(r"(?<!\d)\d{16,19}(?!\d)")
_SECONDS = re.compile(r"(?<!\d)(\d{9,10})\.(\d{3,9})(?!\d)")


@dataclass(frozen=True)
class ColmapModel:
    """A reconstruction in our own terms.

    Attributes:
        rig: Its cameras.
        frames: Moments in stamp order; the local frame is the world of the reconstruction.
        pictures: (n, 2) frame and camera of each picture.
        files: Name of each picture, as in the reconstruction.
        landmarks: Its points, without descriptors.
        observations: Where they were seen.
        is_metric: It is in metres.
    """

    rig: Rig
    frames: tuple[Keyframe, ...]
    pictures: IntArray
    files: tuple[str, ...]
    landmarks: Landmarks
    observations: Observations
    is_metric: bool


@dataclass(frozen=True)
class _Picture:
    image: pycolmap.Image
    moment: int
    camera: str
    stamp_ns: int | None


def read_colmap(folder: str | Path, is_metric: bool = False) -> ColmapModel:
    """Read cameras, images and points3D (with rigs and frames where there are any).

    The camera of a picture is the folder in its name; its stamp are the nanoseconds (16 digits or
    more) or seconds (`1700000000.123456`) in its file name. Where one has none, all are numbered
    in the order of their names, a tenth of a second apart, and the rig says so. A rig with metres
    has one pose per moment; base_link is its reference sensor. Else each picture has its own, and
    base_link is the camera, in REP 103 axes.

    Args:
        folder: Where the model lies: in it, or in its sparse/0 as COLMAP's workspaces have it.
        is_metric: It is in metres.

    Raises:
        InputError: there is no model, or nothing in it was registered.
        CalibrationError: a lens model is not understood.
    """
    folder = Path(folder)
    if (folder / "sparse" / "0").is_dir():
        folder = folder / "sparse" / "0"
    try:
        found = pycolmap.Reconstruction(str(folder))
    except (ValueError, RuntimeError, OSError) as error:
        raise InputError(
            f"{folder} holds no COLMAP model (cameras, images and points3D, .bin or .txt): {error}"
        ) from error
    images = sorted((found.image(i) for i in found.reg_image_ids()), key=lambda i: i.name)
    if not images:
        raise InputError(f"no picture of the COLMAP model {folder} is registered")
    pictures, remarks = _pictures(images, is_metric)
    rig = Rig(
        _cameras(found, pictures, is_metric),
        "colmap",
        remarks=("base_link is the reference sensor of the COLMAP model", *remarks),
    )
    frames, at, order = _frames(pictures, rig, is_metric)
    landmarks, observations = _landmarks(found, [pictures[k] for k in order], at, rig, frames)
    files = tuple(pictures[k].image.name for k in order)
    return ColmapModel(rig, frames, at, files, landmarks, observations, is_metric)


def _pictures(
    images: list[pycolmap.Image], is_metric: bool
) -> tuple[list[_Picture], tuple[str, ...]]:
    """Return the pictures with camera and stamp, moments being shared only by a metric rig."""
    stamps = [_stamp_ns(i.name) for i in images]
    remarks: tuple[str, ...] = ()
    moments = [i.frame_id if is_metric else i.image_id for i in images]
    if any(s is None for s in stamps):
        place = {m: n for n, m in enumerate(dict.fromkeys(moments))}
        stamps = [_STEP_NS * (1 + place[m]) for m in moments]
        remarks = ("the pictures of the COLMAP model tell no time: numbered by name, 0.1 s apart",)
    names = [_camera_name(i) for i in images]
    parts = zip(images, moments, names, stamps, strict=True)
    return [_Picture(*p) for p in parts], remarks


def _stamp_ns(name: str) -> int | None:
    stem = PurePosixPath(name).name
    if found := _NANOSECONDS.search(stem):
        return int(found.group())
    if found := _SECONDS.search(stem):
        return int(found.group(1)) * 1_000_000_000 + int(found.group(2).ljust(9, "0"))
    return None


def _camera_name(image: pycolmap.Image) -> str:
    parts = PurePosixPath(image.name).parts[:-1]
    return "_".join(parts) if parts else f"camera_{image.camera_id}"


def _cameras(
    found: pycolmap.Reconstruction, pictures: list[_Picture], is_metric: bool
) -> tuple[Camera, ...]:
    first: dict[str, _Picture] = {}
    for p in pictures:
        known = first.setdefault(p.camera, p).image.camera_id
        if known != p.image.camera_id:
            raise InputError(
                f"pictures in the folder '{p.camera}' have COLMAP's cameras {known} and "
                f"{p.image.camera_id}; one camera per folder is needed"
            )
    return tuple(
        read_camera(
            name, found.camera(p.image.camera_id), _mount(found, p.image) if is_metric else _bare()
        )
        for name, p in sorted(first.items())
    )


def _bare() -> FloatArray:
    return transforms.rigid(transforms.R_BODY_OPTICAL, np.zeros(3))


def _mount(found: pycolmap.Reconstruction, image: pycolmap.Image) -> FloatArray:
    """Return T_base_cam of a picture's camera; base_link is the rig's reference sensor."""
    rig = found.rig(found.frame(image.frame_id).rig_id)
    is_camera = rig.ref_sensor_id.type == pycolmap.SensorType.CAMERA
    T_base_rig = _bare() if is_camera else np.eye(4)
    sensor = found.camera(image.camera_id).sensor_id
    if rig.is_ref_sensor(sensor):
        return T_base_rig
    return T_base_rig @ transforms.invert(_matrix(rig.sensor_from_rig(sensor)))


def _matrix(rigid: pycolmap.Rigid3d) -> FloatArray:
    return np.vstack([rigid.matrix(), [0.0, 0.0, 0.0, 1.0]])


def _frames(
    pictures: list[_Picture], rig: Rig, is_metric: bool
) -> tuple[tuple[Keyframe, ...], IntArray, list[int]]:
    """Return the moments, frame and camera of each picture (n, 2), and the pictures' order."""
    groups: dict[int, list[int]] = defaultdict(list)
    for k, p in enumerate(pictures):
        groups[p.moment].append(k)
    cameras = [rig.index(p.camera) for p in pictures]
    moments = sorted(
        (sorted(g, key=lambda k: cameras[k]) for g in groups.values()),
        key=lambda g: (pictures[g[0]].stamp_ns, cameras[g[0]]),
    )
    frames: list[Keyframe] = []
    rows = []
    for n, group in enumerate(moments):
        first = pictures[group[0]]
        T_world_cam = transforms.invert(_matrix(first.image.cam_from_world()))
        T = T_world_cam @ transforms.invert(rig.cameras[cameras[group[0]]].T_base_cam)
        stamps = tuple(int(pictures[k].stamp_ns or 0) for k in group)
        # pictures of one moment that no rig ties have poses, and so moments, of their own
        stamp = stamps[0] if not frames else max(stamps[0], frames[-1].stamp_ns + 1)
        frames.append(Keyframe(stamp, T, True, tuple(cameras[k] for k in group), stamps))
        rows += [(n, cameras[k]) for k in group]
    return tuple(frames), np.array(rows, dtype=np.int64), [k for g in moments for k in g]


def _landmarks(
    found: pycolmap.Reconstruction,
    pictures: list[_Picture],
    at: IntArray,
    rig: Rig,
    frames: tuple[Keyframe, ...],
) -> tuple[Landmarks, Observations]:
    """Return the points seen twice or more, and where; their uncertainty from their rays."""
    ids, row, uv = [], [], []
    for n, p in enumerate(pictures):
        seen = [q for q in p.image.points2D if q.has_point3D()]
        ids += [q.point3D_id for q in seen]
        uv += [q.xy for q in seen]
        row += [n] * len(seen)
    named = np.array(ids, dtype=np.int64)
    point, index, rows = seen_twice(named, np.ones(len(named), dtype=bool))
    if not len(rows):
        raise InputError("the COLMAP model has no point that two pictures see")
    uv_px = np.array(uv)[rows] - CORNER_PX
    frame, camera = at[np.array(row)[rows]].T
    points = [found.point3D(int(i)) for i in point]
    landmarks = Landmarks(
        np.arange(1, len(point) + 1),
        np.array([p.xyz for p in points]),
        np.array([p.color for p in points], dtype=np.uint8),
        np.zeros((len(point), 128), dtype=np.uint8),
        _sigma(rig, frames, (frame, camera, index), uv_px, len(point)),
    )
    return landmarks, Observations(index, frame, camera, uv_px.astype(np.float32))


def _sigma(
    rig: Rig,
    frames: tuple[Keyframe, ...],
    seen: tuple[IntArray, IntArray, IntArray],
    uv_px: FloatArray,
    num: int,
) -> np.ndarray:
    """Return the standard deviation of each point (num,) along its worst axis, of one pixel."""
    frame, camera, index = seen
    T_base_cam = np.stack([c.T_base_cam for c in rig.cameras])
    T = np.stack([f.T_local_base for f in frames])[frame] @ T_base_cam[camera]
    xy = np.zeros((len(uv_px), 2))
    for c in np.unique(camera):
        xy[camera == c] = models.normalize(rig.cameras[c], uv_px[camera == c])
    rays = np.einsum("nij,nj->ni", T[:, :3, :3], np.c_[xy, np.ones(len(xy))])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    focal = float(np.mean([models.focal_px(c) for c in rig.cameras]))
    found = triangulate(index, T[:, :3, 3], rays, num, 1.0 / focal)
    return np.nan_to_num(found.sigma_m, nan=np.inf).astype(np.float32)


# ------------------------------------------------------------------------------- looks, clusters


def described(model: ColmapModel, pictures: str | Path) -> ColmapModel:
    """Return a model whose points are described as our landmarks are, in the first picture each.

    Args:
        model: The model.
        pictures: Folder with its pictures, named as in the model.

    Raises:
        InputError: a picture is missing, cannot be read or has another size.
    """
    seen, points = model.observations, model.landmarks.points_local
    descriptors = model.landmarks.descriptors.copy()
    depth = _depth(model)
    unit = 1.0 if model.is_metric else float(np.median(depth)) / TYPICAL_DEPTH_M
    sift, is_done = cv2.SIFT.create(), np.zeros(len(points), dtype=bool)
    for (frame, camera), name in zip(model.pictures.tolist(), model.files, strict=True):
        rows = np.flatnonzero((seen.frame == frame) & (seen.camera == camera))
        rows = rows[~is_done[seen.landmark[rows]]]
        if not len(rows):
            continue
        gray = _gray(Path(pictures) / name, model.rig.cameras[camera])
        size_px = patch_px(model.rig.cameras[camera], depth[rows], unit)
        found = describe(sift, gray, seen.uv_px[rows].astype(np.float64), size_px)
        good = found.any(axis=1)
        descriptors[seen.landmark[rows[good]]] = found[good]
        is_done[seen.landmark[rows[good]]] = True
    landmarks = dataclasses.replace(model.landmarks, descriptors=descriptors)
    return dataclasses.replace(model, landmarks=landmarks)


def _depth(model: ColmapModel) -> FloatArray:
    """Return how far the landmark of each observation (m,) is from its camera."""
    seen = model.observations
    T_base_cam = np.stack([c.T_base_cam for c in model.rig.cameras])
    T = np.stack([f.T_local_base for f in model.frames])[seen.frame] @ T_base_cam[seen.camera]
    offset = model.landmarks.points_local[seen.landmark] - T[:, :3, 3]
    return np.asarray(np.linalg.norm(offset, axis=1))


def _gray(path: Path, camera: Camera) -> np.ndarray:
    # OpenCV would add a warning of its own
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if gray is None:
        raise InputError(
            f"cannot read the picture {path}: name the folder of the model's pictures; a model "
            "that was written by `export --colmap` has them if --recording was given"
        )
    if gray.shape != (camera.height_px, camera.width_px):
        raise InputError(
            f"{path} has {gray.shape[1]}x{gray.shape[0]} pixels; its camera has "
            f"{camera.width_px}x{camera.height_px}"
        )
    return gray


def clusters_of(model: ColmapModel, config: ClustersConfig) -> list[Cluster]:
    """Return the model as overlapping clusters of one session, as long as configured."""
    step = config.cluster_keyframes - min(config.overlap_keyframes, config.cluster_keyframes - 1)
    num = len(model.frames)
    last = max(0, -(-(num - config.cluster_keyframes) // step))
    windows = [(k * step, min(k * step + config.cluster_keyframes, num)) for k in range(last + 1)]
    return [
        _cluster(model, n, window, 0 if n == 0 else windows[n - 1][1] - window[0], n == last)
        for n, window in enumerate(windows)
    ]


def _cluster(
    model: ColmapModel, sequence: int, window: tuple[int, int], num_overlap: int, is_last: bool
) -> Cluster:
    first, end = window
    seen = model.observations
    rows = np.flatnonzero((seen.frame >= first) & (seen.frame < end))
    index, place = np.unique(seen.landmark[rows], return_inverse=True)
    return Cluster(
        sequence=sequence,
        session=0,
        is_last=is_last,
        scale="metric" if model.is_metric else "unknown",
        num_overlap=num_overlap,
        rig=model.rig,
        frames=model.frames[first:end],
        landmarks=Landmarks(*(v[index] for v in vars(model.landmarks).values())),
        observations=Observations(
            place, seen.frame[rows] - first, seen.camera[rows], seen.uv_px[rows]
        ),
    )
