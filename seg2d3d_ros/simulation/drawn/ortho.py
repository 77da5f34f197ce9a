"""Pictures to draw by: the street from above, and the facades straight from the front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.cameras import focal_px, project
from seg2d3d_ros.io.palette import instance_colors_rgb
from seg2d3d_ros.simulation.drawn.drawing import Drawing, Facade
from seg2d3d_ros.simulation.drawn.sight import Sight, nearest_depth
from seg2d3d_ros.simulation.drawn.survey import Survey, in_color
from seg2d3d_ros.types import Camera, FloatArray, Frame

_NUM_BEST = 5
_LEAST_PX_PER_M = 2.0
_MARGIN_M = 40.0
_INCHES = 20.0
_DPI = 90
_HEIGHTS_M = (-1.0, 5.0)
_NUMBER_EVERY = 10


@dataclass(frozen=True)
class OrthoOptions:
    """How facades are shown.

    Attributes:
        px_per_m: Resolution.
        height_m: How far up.
        below_m: How far below the line's base.
    """

    px_per_m: float = 20.0
    height_m: float = 14.0
    below_m: float = 1.0


class OrthoImage:
    """A facade from the front: in every cell the median of the pictures that show it best."""

    def __init__(self, facade: Facade, options: OrthoOptions) -> None:
        """Lay the cells over the facade's plane."""
        self.facade, self.options = facade, options
        step_m = 1.0 / options.px_per_m
        along = np.arange(0.5 * step_m, facade.length_m, step_m)
        up = np.arange(options.height_m - 0.5 * step_m, -options.below_m, -step_m)
        self._shape = (len(up), len(along))
        grid = np.meshgrid(along, up)
        self._points = facade.at(grid[0].ravel(), grid[1].ravel())
        self._colors = np.zeros((_NUM_BEST, len(self._points), 3), np.uint8)
        self._sharpness = np.zeros((_NUM_BEST, len(self._points)), np.float32)

    def add(
        self, frame: Frame, camera: Camera, T_map_cam: FloatArray, depth_m: NDArray[np.float32]
    ) -> None:
        """Add a picture.

        Args:
            frame: The picture.
            camera: Its camera.
            T_map_cam: (4, 4) its pose.
            depth_m: (h, w) of what lidar saw nearest; cells behind it are hidden.
        """
        points_cam = transforms.apply(transforms.invert(T_map_cam), self._points)
        uv_px, is_seen = project(camera, points_cam)
        ray = self._points - T_map_cam[:3, 3]
        distance = np.linalg.norm(ray, axis=1)
        slant = np.abs(ray @ self.facade.inward) / distance
        sharpness = np.where(is_seen, focal_px(camera) * slant / distance, 0.0)
        cells = np.flatnonzero(sharpness > np.maximum(self._sharpness[-1], _LEAST_PX_PER_M))
        column, row = np.rint(uv_px[cells]).astype(np.int64).T
        is_clear = depth_m[row, column] > points_cam[cells, 2] * 0.98 - 0.6
        cells, column, row = cells[is_clear], column[is_clear], row[is_clear]
        image = in_color(frame)
        self._colors[-1, cells], self._sharpness[-1, cells] = image[row, column], sharpness[cells]
        order = np.argsort(-self._sharpness[:, cells], axis=0, kind="stable")
        self._sharpness[:, cells] = np.take_along_axis(self._sharpness[:, cells], order, axis=0)
        colors = self._colors[:, cells]
        self._colors[:, cells] = np.take_along_axis(colors, order[..., None], axis=0)

    @property
    def share_seen(self) -> float:
        """Return the share of cells that some picture shows."""
        return float((self._sharpness[0] > 0).mean())

    def image(self) -> NDArray[np.uint8]:
        """Return (h, w, 3) BGR, magenta where no picture shows the facade."""
        is_seen = self._sharpness > 0
        colors = np.ma.array(self._colors, mask=np.repeat(~is_seen[..., None], 3, axis=2))
        out = np.ma.median(colors, axis=0).filled(0).astype(np.uint8)
        out[~is_seen.any(axis=0)] = (255, 0, 255)
        return np.asarray(out.reshape(*self._shape, 3))


def make_orthos(
    survey: Survey,
    drawing: Drawing,
    options: OrthoOptions,
    on_picture: Callable[[int], None] | None = None,
) -> dict[str, OrthoImage]:
    """Return the ortho-image of every facade of a drawing, by its name."""
    orthos = {f.name: OrthoImage(f, options) for f in drawing.facades}
    for frame, T_map_base in survey.frames():
        camera = survey.camera(frame.camera)
        T_map_cam = T_map_base @ camera.T_base_cam
        depth_m = nearest_depth(survey.scans_near(frame.stamp_ns), camera, T_map_cam)
        for ortho in orthos.values():
            ortho.add(frame, camera, T_map_cam, depth_m)
        if on_picture is not None:
            on_picture(1)
    return orthos


def draw_ortho(path: Path, ortho: OrthoImage) -> None:
    """Write an ortho-image with metres on its axes and the stretches that are drawn already."""
    options, facade = ortho.options, ortho.facade
    width = _INCHES
    height = width * (options.height_m + options.below_m) / facade.length_m
    axes, save = _figure(width, min(max(height, 3.0), 16.0))
    extent = (0.0, facade.length_m, -options.below_m, options.height_m)
    axes.imshow(cv2.cvtColor(ortho.image(), cv2.COLOR_BGR2RGB), extent=extent, aspect="equal")
    for stretch in facade.stretches:
        along, top = stretch.top_m.T
        outline = [along[0], *along, along[-1]], [0.0, *top, 0.0]
        axes.plot(*outline, color="yellow", linewidth=1.5)
        axes.text(along.mean(), 0.5, f"house {stretch.house}", color="yellow", ha="center")
    axes.set_title(f"{facade.name}: metres along the line, metres above its base")
    axes.set_xticks(np.arange(0.0, facade.length_m, 1.0 if facade.length_m < 60 else 5.0))
    axes.set_yticks(np.arange(0.0, options.height_m + 0.1, 1.0))
    axes.grid(alpha=0.35)
    save(path)


def draw_top_view(path: Path, survey: Survey, drawing: Drawing | None) -> None:
    """Write the street from above: lidar coloured by height, the way driven, facades drawn.

    Heights are above base_link of the pose nearest in time; numbers beside the way count pictures.
    """
    stamps = [frame.stamp_ns for frame, _ in survey.frames()]
    way = survey.poses(stamps)[:, :3, 3]
    lines = [f.line_map[:, :2] for f in drawing.facades] if drawing else []
    shown = np.concatenate([way[:, :2] - _MARGIN_M, way[:, :2] + _MARGIN_M, *lines])
    low, high = np.floor(shown.min(axis=0) - 2), np.ceil(shown.max(axis=0) + 2)
    axes, save = _figure(_INCHES, _INCHES * float((high - low)[1] / (high - low)[0]))
    for scan in survey.scans:
        z = scan.points_map[:, 2] - survey.poses([scan.stamp_ns])[0][2, 3]
        keep = (z > _HEIGHTS_M[0]) & (z < _HEIGHTS_M[1])
        x, y = scan.points_map[keep, :2].T
        axes.scatter(
            x, y, c=z[keep], s=0.4, cmap="turbo", vmin=_HEIGHTS_M[0], vmax=_HEIGHTS_M[1], lw=0
        )
    axes.plot(way[:, 0], way[:, 1], "k.-", markersize=2)
    for k in range(0, len(way), _NUMBER_EVERY):
        axes.text(way[k, 0], way[k, 1], str(k), fontsize=8)
    if drawing is not None:
        _draw_houses(axes, drawing)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set(xlabel="x of the map, m", ylabel="y of the map, m")
    for axis, a, b in ((axes.xaxis, low[0], high[0]), (axes.yaxis, low[1], high[1])):
        axis.set_ticks(np.arange(5 * np.ceil(a / 5), b, 5.0))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.4)
    save(path)


def _draw_houses(axes: Any, drawing: Drawing) -> None:
    """Draw facade lines with their stretches, and the crowns of trees."""
    for facade in drawing.facades:
        axes.plot(*facade.line_map[:, :2].T, color="magenta", linewidth=1)
        axes.text(*facade.line_map[:, :2].mean(axis=0), facade.name, color="magenta", clip_on=True)
        for stretch in facade.stretches:
            ends = facade.at(np.array([stretch.from_m, stretch.to_m]), np.zeros(2))
            axes.plot(*ends[:, :2].T, marker="|", linewidth=3, alpha=0.6)
    turn = np.linspace(0.0, 2 * np.pi, 33)
    for tree in drawing.trees:
        x, y = tree.foot_map[:2]
        r = tree.crown_radius_m
        axes.plot(x + r * np.cos(turn), y + r * np.sin(turn), color="green", linewidth=1)


def draw_overlays(folder: Path, survey: Survey, drawing: Drawing, every: int) -> int:
    """Write each n-th picture with its houses over it, to look at; return how many."""
    sight = Sight(drawing, survey)
    colors_bgr = instance_colors_rgb(np.arange(len(sight.surfaces.class_of)))[:, ::-1]
    num = 0
    for k, (frame, T_map_base) in enumerate(survey.frames()):
        if k % every:
            continue
        objects = sight.see(frame, T_map_base)
        image = in_color(frame)
        mixed = cv2.addWeighted(image, 0.55, colors_bgr[objects].astype(np.uint8), 0.45, 0)
        image = np.where(objects[..., None] > 0, mixed, image)
        cv2.imwrite(str(folder / f"overlay_{frame.camera}_{k:05d}.jpg"), image)
        num += 1
    return num


def _figure(width_in: float, height_in: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure.subplots(), figure.savefig
