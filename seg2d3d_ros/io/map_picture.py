"""The map from above as a picture: points, instances in colour, trajectory, scale bar, north."""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from seg2d3d_ros.io.outline import is_rough, outline
from seg2d3d_ros.io.palette import instance_color_rgb, instance_colors_rgb
from seg2d3d_ros.types import FloatArray, IntArray, MapUpdate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_DPI = 150
_LONG_SIDE_IN, _SHORT_SIDE_IN, _HEAD_IN = 12.0, 4.5, 0.42
_LEAST_PT = 8.0
_REACH_M = 40.0  # points further from the trajectory than this do not stretch the picture
_SURE_REACH_M = 80.0  # nor do instances, if it is certain where they end
_PAPER, _INK, _PATH = "#ffffff", "#222222", "#0b3d91"


def import_drawing() -> None:
    """Import all that draws: it takes as long as drawing, and may be done beside other work."""
    for name in ("backends.backend_agg", "figure", "lines", "patches", "patheffects"):
        importlib.import_module(f"matplotlib.{name}")


def draw_map(map: MapUpdate, title: str = "") -> bytes:
    """Return a PNG of a full map seen from above, x to the right or, with an origin, east.

    The same map gives the same bytes.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "agg"}):
        low, high = _extent(map)
        size = _figure_size(high - low)
        low, high = _fit(low, high, (size[0], size[1] - _HEAD_IN))
        figure = Figure(figsize=size, dpi=_DPI, facecolor=_PAPER)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0 - _HEAD_IN / size[1]))
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        axes.axis("off")
        _draw_points(axes, map, size, high - low)
        _draw_instances(axes, map, low, high)
        _draw_trajectory(axes, map)
        _draw_legend(figure, axes, map, title)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()


def path_length_m(map: MapUpdate) -> float:
    """Return the length of the trajectory."""
    positions = map.trajectory.T_map_base[:, :3, 3]
    return (
        float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum()) if len(positions) else 0.0
    )


def _caption(map: MapUpdate, title: str) -> str:
    unit = "m" if map.scale == "metric" else "units (scale unknown)"
    n = len(map.instances)
    parts = [title] if title else []
    parts.append(f"{n} instance{'' if n == 1 else 's'}")
    parts.append(f"{path_length_m(map):.0f} {unit} driven")
    parts.append(f"{len(map.cloud.points_map):,} points")
    return "   ·   ".join(parts)


def _extent(map: MapUpdate) -> tuple[FloatArray, FloatArray]:
    """Return the lower and upper corner (2,) of what is shown."""
    path = map.trajectory.T_map_base[:, :2, 3]
    points = map.cloud.points_map[:, :2]
    points = points[np.isfinite(points).all(axis=1)]
    if not len(path) and not len(points):
        return np.array([-10.0, -10.0]), np.array([10.0, 10.0])
    core = path if len(path) else np.median(points, axis=0, keepdims=True)
    low, high = core.min(axis=0), core.max(axis=0)
    near = points[((points >= low - _REACH_M) & (points <= high + _REACH_M)).all(axis=1)]
    if len(near):
        low = np.minimum(low, np.quantile(near, 0.02, axis=0))
        high = np.maximum(high, np.quantile(near, 0.98, axis=0))
    first, last = low, high
    for instance in map.instances:
        polygon = outline(instance)
        center = polygon.mean(axis=0)
        reach = _REACH_M / 2 if is_rough(instance) else _SURE_REACH_M
        is_near = (center >= first - reach).all() and (center <= last + reach).all()
        if is_near and np.ptp(polygon, axis=0).max() < 2 * _REACH_M:
            low, high = np.minimum(low, polygon.min(axis=0)), np.maximum(high, polygon.max(axis=0))
    margin = 0.04 * max(float((high - low).max()), 5.0) + 1.0
    return low - margin, high + margin


def _figure_size(span: FloatArray) -> tuple[float, float]:
    ratio = float(span[1] / span[0])
    if ratio <= 1.0:
        return _LONG_SIDE_IN, max(_LONG_SIDE_IN * ratio, _SHORT_SIDE_IN) + _HEAD_IN
    return max(_LONG_SIDE_IN / ratio, _SHORT_SIDE_IN + 1.5), _LONG_SIDE_IN + _HEAD_IN


def _fit(
    low: FloatArray, high: FloatArray, size: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Widen the shorter side so that a metre is as long in x as in y on a page of that size."""
    span, page = high - low, np.array(size)
    wanted = page * float((span / page).max())
    return low - 0.5 * (wanted - span), high + 0.5 * (wanted - span)


def _draw_points(axes: Axes, map: MapUpdate, size: tuple[float, float], span: FloatArray) -> None:
    cloud = map.cloud
    known = {i.id for i in map.instances}
    is_instance = np.isin(cloud.instances, list(known)) if known else cloud.instances < 0
    order = np.argsort(cloud.points_map[:, 2], kind="stable")
    pixels = np.floor(cloud.points_map[:, :2] * _DPI * min(size[0] / span[0], size[1] / span[1]))
    # a point is drawn about 25 cm wide, but never thinner than a hair (thicker if there are few)
    points_per_m = 72.0 * min(size[0] / span[0], size[1] / span[1])
    thinnest = 2.2 if len(cloud.points_map) < 20_000 else 0.9
    width = float(np.clip(0.25 * points_per_m, thinnest, 3.5))
    rest = _on_top(order[~is_instance[order]], pixels)
    own = 0.72 * cloud.colors_rgb[rest] / 255.0 + 0.08  # bright walls must show on white
    labelled = _on_top(order[is_instance[order]], pixels)
    colors = instance_colors_rgb(cloud.instances[labelled]) / 255.0
    for rows, rgb, z, scale in ((rest, own, 1, 1.0), (labelled, colors, 3, 1.25)):
        axes.scatter(
            cloud.points_map[rows, 0],
            cloud.points_map[rows, 1],
            s=(width * scale) ** 2,
            c=rgb,
            linewidths=0,
            zorder=z,
        )


def _on_top(order: IntArray, pixels: FloatArray) -> IntArray:
    """Return the rows (k,) of `order` (n,) that no later one covers, by their pixels (m, 2)."""
    _, newest = np.unique(pixels[order[::-1]], axis=0, return_index=True)
    return order[np.sort(len(order) - 1 - newest)]


def _draw_instances(axes: Axes, map: MapUpdate, low: FloatArray, high: FloatArray) -> None:
    from matplotlib.patches import Polygon
    from matplotlib.patheffects import withStroke

    font = 9.0 if len(map.instances) <= 40 else 7.0 if len(map.instances) <= 120 else 5.5
    for instance in sorted(map.instances, key=lambda i: i.id):
        color = np.array(instance_color_rgb(instance.id)) / 255.0
        polygon, is_dashed = outline(instance), is_rough(instance)
        if not is_dashed:
            axes.add_patch(
                Polygon(polygon, closed=True, facecolor=(*color, 0.22), edgecolor="none", zorder=2)
            )
        line = {"linewidth": 0.9, "linestyle": (0, (4, 3))} if is_dashed else {"linewidth": 1.4}
        axes.add_patch(
            Polygon(polygon, closed=True, fill=False, edgecolor=color, zorder=4, **line)
        )
        at = polygon.mean(axis=0)
        if not ((at > low) & (at < high)).all():
            continue
        axes.text(
            at[0],
            at[1],
            str(instance.id),
            ha="center",
            va="center",
            size=font,
            weight="bold",
            color=color * 0.55,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=6,
            clip_on=True,
        )


def _draw_trajectory(axes: Axes, map: MapUpdate) -> None:
    from matplotlib.patheffects import withStroke

    path = map.trajectory.T_map_base[:, :2, 3]
    if not len(path):
        return
    axes.plot(path[:, 0], path[:, 1], color="white", linewidth=4.0, zorder=4.5)
    axes.plot(path[:, 0], path[:, 1], color=_PATH, linewidth=1.8, zorder=5)
    axes.plot(*path[0], "o", color="white", markeredgecolor=_PATH, markersize=8, zorder=5.5)
    axes.plot(*path[-1], "s", color=_PATH, markeredgecolor="white", markersize=8, zorder=5.5)
    x0, x1 = axes.get_xlim()
    is_closed = np.linalg.norm(path[-1] - path[0]) < 0.05 * (x1 - x0)
    words = ((path[0], "start, end"),) if is_closed else ((path[0], "start"), (path[-1], "end"))
    for at, word in words:
        axes.annotate(
            word,
            at,
            xytext=(0, -13),
            textcoords="offset points",
            ha="center",
            size=8,
            color=_PATH,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=7,
        )


def _draw_legend(figure: Figure, axes: Axes, map: MapUpdate, title: str) -> None:
    """Write the head line: caption, a scale bar of round length and, with an origin, north."""
    width_in, height_in = figure.get_size_inches()
    y = 1.0 - 0.5 * _HEAD_IN / height_in
    x0, x1 = axes.get_xlim()
    length = round_length((x1 - x0) / 8.0)
    share = length / (x1 - x0)
    right = 0.985
    if map.origin is not None:
        arrow = {"arrowstyle": "-|>", "color": _INK, "linewidth": 1.6}
        x = right - 0.05 / width_in
        low, high = (1.0 - v / height_in for v in (0.38, 0.06))
        axes.annotate("", (x, high), (x, low), "figure fraction", arrowprops=arrow)
        figure.text(x - 0.09 / width_in, y, "N", ha="right", va="center", weight="bold", size=11)
        right -= 0.55 / width_in
    bar = {"transform": figure.transFigure, "color": _INK, "solid_capstyle": "butt"}
    for xs, linewidth in (([right - share, right], 3.0), ([right - share] * 2, 1.0)):
        figure.add_artist(_line(xs, y, height_in, linewidth, bar))
    figure.add_artist(_line([right] * 2, y, height_in, 1.0, bar))
    unit = "m" if map.scale == "metric" else "units"
    x = right - share - 0.1 / width_in
    scale = figure.text(x, y, f"{length:g} {unit}", ha="right", va="center", size=10, color=_INK)
    size = 11.0
    caption = figure.text(0.012, y, _caption(map, title), va="center", size=size, color=_INK)
    end = scale.get_window_extent().x0 - 0.15 * _DPI
    while title and caption.get_window_extent().x1 > end:
        if size > _LEAST_PT:
            size -= 1.0
            caption.set_fontsize(size)
        else:
            title = title[:-1]
            caption.set_text(_caption(map, f"{title}…"))


def _line(xs: list[float], y: float, height_in: float, linewidth: float, style: Any) -> Line2D:
    from matplotlib.lines import Line2D

    half = 0.0 if xs[0] != xs[1] else 0.06 / height_in
    return Line2D(xs, [y - half, y + half], linewidth=linewidth, **style)


def round_length(most: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, … that is not above `most`."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(k * power for k in (1.0, 2.0, 5.0) if k * power <= most * (1 + 1e-9)))
