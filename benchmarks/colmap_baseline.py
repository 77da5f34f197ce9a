"""COLMAP's incremental mapper on the keyframe pictures of a drive, to compare with."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pycolmap

from seg2d3d_ros.config import SegmentationConfig
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import (
    Camera,
    Distortion,
    FloatArray,
    Frame,
    IntArray,
    Item,
    LabelImage,
    Rig,
)

OVERLAP = 6
MAX_FEATURES = 2048
SHARED_VIEW = 0.04
SEED = 0
MODELS = {
    Distortion.NONE: "PINHOLE",
    Distortion.PLUMB_BOB: "FULL_OPENCV",
    Distortion.RATIONAL_POLYNOMIAL: "FULL_OPENCV",
    Distortion.EQUIDISTANT: "OPENCV_FISHEYE",
}


@dataclass(frozen=True)
class Mapped:
    """What COLMAP made of the pictures.

    Attributes:
        camera: (n,) camera of each picture of the largest model.
        stamp_ns: (n,) its stamp.
        position: (n, 3) where the camera stood, in the model's frame and unit.
        num_models: Into how many pieces the drive fell.
        cpu_s: Processor time of extraction, matching and mapping.
        wall_s: The same by the clock.
    """

    camera: IntArray
    stamp_ns: IntArray
    position: FloatArray
    num_models: int
    cpu_s: float
    wall_s: float


def write_pictures(
    items: Iterable[Item], rig: Rig, stamps_ns: IntArray, folder: Path
) -> dict[str, list[int]]:
    """Write the pictures of some stamps, and masks without what moves and without sky.

    Returns:
        Stamps of the pictures that were written, by camera, in order.
    """
    wanted, config = set(stamps_ns.tolist()), SegmentationConfig()
    never = [*config.dynamic_classes, *config.ignored_classes]
    written: dict[str, list[int]] = {c.name: [] for c in rig.cameras}
    for c in rig.cameras:
        (folder / "images" / c.name).mkdir(parents=True, exist_ok=True)
    for item in items:
        if not isinstance(item, Frame | LabelImage) or item.stamp_ns not in wanted:
            continue
        name = f"{item.camera}/{item.stamp_ns}.png"
        if isinstance(item, Frame):
            cv2.imwrite(str(folder / "images" / name), item.image)
            written[item.camera].append(item.stamp_ns)
        else:
            classes = np.where(item.labels >= 1000, item.labels // 1000, item.labels)
            mask = np.where(np.isin(classes, never), 0, 255).astype(np.uint8)
            (folder / "masks" / item.camera).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)
    return {camera: sorted(stamps) for camera, stamps in written.items()}


def run_colmap(rig: Rig, pictures: dict[str, list[int]], folder: Path, threads: int) -> Mapped:
    """Extract SIFT, match in sequence and across cameras, map; intrinsics known and held."""
    wall, cpu = time.perf_counter(), time.process_time()
    pycolmap.set_random_seed(SEED)
    database = folder / "database.db"
    database.unlink(missing_ok=True)
    for camera in rig.cameras:
        _extract(database, camera, pictures[camera.name], folder, threads)
    pairs = folder / "pairs.txt"
    pairs.write_text("".join(f"{a} {b}\n" for a, b in _pairs(rig, pictures)))
    pycolmap.match_image_pairs(
        database,
        matching_options=pycolmap.FeatureMatchingOptions(use_gpu=False, num_threads=threads),
        pairing_options=pycolmap.ImportedPairingOptions(match_list_path=pairs),
    )
    options = pycolmap.IncrementalPipelineOptions(
        ba_refine_focal_length=False,
        ba_refine_principal_point=False,
        ba_refine_extra_params=False,
        num_threads=threads,
        random_seed=SEED,
    )
    # a vehicle drives forward: by default no pair of such pictures may start a model
    options.mapper.init_max_forward_motion = 1.0
    options.mapper.init_min_tri_angle = 4.0
    out = folder / "models"
    out.mkdir(exist_ok=True)
    found = pycolmap.incremental_mapping(database, folder / "images", out, options)
    models_by_size = sorted(found.values(), key=lambda m: -m.num_reg_images())
    spent = time.process_time() - cpu, time.perf_counter() - wall
    return _positions(models_by_size, rig, *spent)


def _extract(
    database: Path, camera: Camera, stamps: list[int], folder: Path, threads: int
) -> None:
    K, D = camera.K, np.resize(np.r_[camera.D, np.zeros(8)], 8)
    # COLMAP's pixels start at the corner, ours at the centre of the first one
    params = [K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5]
    if camera.distortion is Distortion.EQUIDISTANT:
        params += D[:4].tolist()
    elif camera.distortion is not Distortion.NONE:
        params += D.tolist()
    reader = pycolmap.ImageReaderOptions(
        camera_model=MODELS[camera.distortion],
        camera_params=",".join(f"{p:.9f}" for p in params),
    )
    if (folder / "masks" / camera.name).is_dir():
        reader.mask_path = folder / "masks"
    extraction = pycolmap.FeatureExtractionOptions(use_gpu=False, num_threads=threads)
    extraction.sift.max_num_features = MAX_FEATURES
    pycolmap.extract_features(
        database,
        folder / "images",
        image_names=[f"{camera.name}/{s}.png" for s in stamps],
        camera_mode=pycolmap.CameraMode.PER_FOLDER,
        reader_options=reader,
        extraction_options=extraction,
    )


def _pairs(rig: Rig, pictures: dict[str, list[int]]) -> Iterator[tuple[str, str]]:
    """Yield pictures up to six apart, and across cameras that share view at and next to a time."""
    for name, stamps in pictures.items():
        for i, a in enumerate(stamps):
            for b in stamps[i + 1 : i + 1 + OVERLAP]:
                yield f"{name}/{a}.png", f"{name}/{b}.png"
    for one, other in pairwise(rig.cameras):
        if not _shares_view(one, other):
            continue
        for i, a in enumerate(pictures[one.name]):
            for b in pictures[other.name][max(i - 1, 0) : i + 2]:
                yield f"{one.name}/{a}.png", f"{other.name}/{b}.png"


def _shares_view(one: Camera, other: Camera, distance_m: float = 15.0) -> bool:
    u, v = np.meshgrid(np.linspace(0, one.width_px - 1, 24), np.linspace(0, one.height_px - 1, 16))
    xy = models.normalize(one, np.stack([u.ravel(), v.ravel()], axis=1))
    T = transforms.invert(other.T_base_cam) @ one.T_base_cam
    points = transforms.apply(T, np.c_[xy, np.ones(len(xy))] * distance_m)
    return float(models.project(other, points)[1].mean()) >= SHARED_VIEW


def _positions(found: list[pycolmap.Reconstruction], rig: Rig, cpu: float, wall: float) -> Mapped:
    images = [found[0].image(i) for i in found[0].reg_image_ids()] if found else []
    names = [image.name.removesuffix(".png").rsplit("/", 1) for image in images]
    order = sorted(range(len(images)), key=lambda k: (int(names[k][1]), names[k][0]))
    centers = [images[k].projection_center() for k in order]
    return Mapped(
        np.array([rig.index(names[k][0]) for k in order], dtype=np.int64),
        np.array([int(names[k][1]) for k in order], dtype=np.int64),
        np.array(centers).reshape(-1, 3),
        len(found),
        cpu,
        wall,
    )
