"""What of a drawing a picture truly shows: rays on facades, roofs and trees, then the lidar."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.cameras import focal_px, project
from seg2d3d_ros.segmentation.classes import BUILDING, VEGETATION
from seg2d3d_ros.simulation.drawn.drawing import Drawing, Facade, Stretch, Tree
from seg2d3d_ros.simulation.drawn.survey import Scan, Survey
from seg2d3d_ros.simulation.render import RayCaster, Rays, camera_rays
from seg2d3d_ros.types import Camera, FloatArray, Frame

_SIDES = 16
# Neighbouring beams of the lidar are up to this far apart: 0.42 degrees, at 721 px focal length
# five rows; the columns are denser, but leaves and windows let many of them through.
_BEAM_GAP_RAD = (0.006, 0.0085)
_CLEAR_M, _CLEAR_SHARE = 0.6, 0.02
_MIN_DEPTH_M = 0.5


@dataclass(frozen=True)
class Surfaces:
    """Triangles (n, 3, 3) in the map, and the object (n,) each belongs to.

    Objects are the houses by their ids, then the trees; `class_of` tells their class.
    """

    triangles: FloatArray
    object_id: NDArray[np.int64]
    class_of: NDArray[np.int64]


def build_surfaces(drawing: Drawing) -> Surfaces:
    """Return the surfaces of a drawing."""
    found: list[tuple[FloatArray, int]] = []
    for facade in drawing.facades:
        for stretch in facade.stretches:
            found.append((_wall(facade, stretch), stretch.house))
    num_houses = max(drawing.houses, default=0)
    for k, tree in enumerate(drawing.trees, start=num_houses + 1):
        found.append((_tree(tree), k))
    class_of = np.array([0] + [BUILDING] * num_houses + [VEGETATION] * len(drawing.trees))
    triangles = [t for t, _ in found] or [np.zeros((0, 3, 3))]
    owner = [np.full(len(t), o, np.int64) for t, o in found] or [np.zeros(0, np.int64)]
    return Surfaces(np.concatenate(triangles), np.concatenate(owner), class_of)


def _quads(lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Return the triangles (2n, 3, 3) between two chains (n + 1, 3)."""
    a, b, c, d = lower[:-1], lower[1:], upper[1:], upper[:-1]
    return np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])


def _wall(facade: Facade, stretch: Stretch) -> FloatArray:
    along, height = stretch.top_m.T
    foot, top = facade.at(along, np.zeros(len(along))), facade.at(along, height)
    parts = [_quads(foot, top)]
    if stretch.roof_m is not None:
        back = top + stretch.roof_m[0] * facade.inward
        back[:, 2] += stretch.roof_m[1]
        parts.append(_quads(top, back))
    return np.concatenate(parts)


def _tree(tree: Tree) -> FloatArray:
    """Return a cylinder below an ellipsoid, both of flat faces."""
    turn = np.linspace(0.0, 2 * np.pi, _SIDES + 1)
    circle = np.stack([np.cos(turn), np.sin(turn), np.zeros_like(turn)], axis=1)
    middle = 0.5 * (tree.crown_from_m + tree.crown_to_m)
    rings = [tree.trunk_radius_m * circle + [0, 0, z] for z in (0.0, middle)]
    parts = [_quads(rings[0], rings[1])]
    tilt = np.linspace(-0.5 * np.pi, 0.5 * np.pi, _SIDES // 2 + 1)
    half = 0.5 * (tree.crown_to_m - tree.crown_from_m)
    crown = [
        tree.crown_radius_m * np.cos(a) * circle + [0, 0, middle + half * np.sin(a)] for a in tilt
    ]
    parts += [_quads(a, b) for a, b in zip(crown, crown[1:], strict=False)]
    return np.concatenate(parts) + tree.foot_map


class Sight:
    """Tells which house every pixel of a picture shows."""

    def __init__(self, drawing: Drawing, survey: Survey) -> None:
        """Prepare ray casting, single-threaded."""
        self.surfaces = build_surfaces(drawing)
        self._survey = survey
        self._caster = RayCaster(self.surfaces.triangles)
        self._rays: dict[str, Rays] = {}

    def see(self, frame: Frame, T_map_base: FloatArray) -> NDArray[np.int64]:
        """Return the object (h, w) that every pixel shows, 0 for none or where lidar is nearer."""
        camera = self._survey.camera(frame.camera)
        T_map_cam = T_map_base @ camera.T_base_cam
        objects, depth_m = self._cast(camera, T_map_cam)
        is_drawn = objects > 0
        if not is_drawn.any():
            return objects
        nearest = nearest_depth(self._survey.scans_near(frame.stamp_ns), camera, T_map_cam)
        return np.where(nearest < depth_m * (1 - _CLEAR_SHARE) - _CLEAR_M, 0, objects)

    def _cast(
        self, camera: Camera, T_map_cam: FloatArray
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the object (h, w) that rays hit first, and its depth along the optical axis."""
        if camera.name not in self._rays:
            self._rays[camera.name] = camera_rays(camera)
        directions = self._rays[camera.name].directions
        row, depth = self._caster.cast(T_map_cam, directions)
        objects = np.append(self.surfaces.object_id, 0)[row]
        shape = (camera.height_px, camera.width_px)
        return objects.reshape(shape), depth.reshape(shape)


def nearest_depth(scans: list[Scan], camera: Camera, T_map_cam: FloatArray) -> NDArray[np.float32]:
    """Return the depth (h, w) of the nearest lidar point around every pixel, inf without any."""
    depth = np.full((camera.height_px, camera.width_px), np.inf, np.float32)
    T_cam_map = transforms.invert(T_map_cam)
    for scan in scans:
        points = transforms.apply(T_cam_map, scan.points_map.astype(np.float64))
        points = points[points[:, 2] > _MIN_DEPTH_M]
        uv_px, is_inside = project(camera, points)
        column, row = np.rint(uv_px[is_inside]).astype(np.int64).T
        np.minimum.at(depth, (row, column), points[is_inside, 2].astype(np.float32))
    focal = focal_px(camera)
    width, height = (2 * round(focal * gap / 2) + 1 for gap in _BEAM_GAP_RAD)
    return np.asarray(cv2.erode(depth, np.ones((height, width), np.uint8)))
