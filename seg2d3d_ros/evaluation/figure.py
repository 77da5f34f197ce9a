"""One picture of all identities: rows are true buildings, colours are ids."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seg2d3d_ros.evaluation.identity import MIN_MASKS, count, coverage_of_buildings
from seg2d3d_ros.evaluation.masks import MaskKey, MaskTruth
from seg2d3d_ros.io.palette import instance_colors_rgb
from seg2d3d_ros.types import IntArray

CAPTION = (
    "rows: true buildings by first appearance, one lane per camera · ticks: masks · "
    "colour: id, grey: none · at the right: coverage"
)
_LETTERS_PER_IN = 14  # of 8 pt
UNASSIGNED_RGB = (0.82, 0.82, 0.82)


def draw_timelines(
    path: Path, masks: MaskTruth, methods: Mapping[str, Mapping[MaskKey, int]]
) -> None:
    """Write a figure with one panel per method.

    Every row is a true building with enough masks, in order of first appearance; every tick is a
    mask, one lane per camera; its colour is the id it got, light grey where it got none. At the
    right of a row stands the building's coverage. A perfect row has one colour that no other has.

    Args:
        path: PNG, SVG or PDF to write.
        masks: Masks of the pictures that are judged.
        methods: Ids by mask, by name of the method.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = _rows(masks)
    width_in, height_in = 1.2 + 5.0 * len(methods), 1.3 + 0.22 * max(len(rows), 5)
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for axes, (name, assignment) in zip(panels, methods.items(), strict=True):
        _draw_panel(axes, masks, rows, masks.ids(assignment))
        axes.set_title(name.replace("_", " "), fontsize=10)
    panels[0].set_yticks(range(len(rows)), [str(b) for b in rows], fontsize=6)
    panels[0].set_ylabel("true building")
    panels[0].invert_yaxis()
    caption = textwrap.fill(CAPTION, int(width_in * _LETTERS_PER_IN))
    figure.supxlabel(caption, fontsize=8, color="0.3")
    figure.savefig(path, dpi=130)


def _rows(masks: MaskTruth) -> list[int]:
    """Return the buildings with enough masks in order of first appearance."""
    first = {int(b): i for i, b in reversed(list(enumerate(masks.building)))}
    numbers = dict(zip(*np.unique(masks.building, return_counts=True), strict=True))
    enough = [b for b in first if b != 0 and numbers[b] >= MIN_MASKS]
    return sorted(enough, key=lambda b: first[b])


def _draw_panel(axes: Any, masks: MaskTruth, rows: list[int], ids: IntArray) -> None:
    row_of = {b: i for i, b in enumerate(rows)}
    shown = np.array([int(b) in row_of for b in masks.building], dtype=bool)
    stamps = np.array([key[0] for key in masks.keys], dtype=np.int64)
    seconds = (stamps - stamps[0]) * 1e-9
    stream = masks.stream
    num_lanes = int(stream.max()) + 1
    lane = 0.8 / num_lanes
    row = np.array([row_of.get(int(b), 0) for b in masks.building])
    top = row - 0.4 + lane * stream
    colors = instance_colors_rgb(_ranks(ids)) / 255.0
    colors[ids == 0] = UNASSIGNED_RGB
    width = _tick_s(seconds)
    axes.barh(
        (top + lane / 2)[shown],
        np.full(int(shown.sum()), width),
        height=lane,
        left=seconds[shown] - width / 2,
        color=colors[shown],
        linewidth=0,
    )
    for i in range(0, len(rows), 2):
        axes.axhspan(i - 0.5, i + 0.5, color="0.96", linewidth=0, zorder=-1)
    _write_coverage(axes, masks, rows, ids, seconds)
    axes.set_xlabel("time / s")
    axes.set_xlim(seconds.min() - width, seconds.max() + 0.11 * np.ptp(seconds) + width)
    axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _write_coverage(
    axes: Any, masks: MaskTruth, rows: list[int], ids: IntArray, seconds: Any
) -> None:
    table = count(masks.building, ids)
    coverage = dict(zip(table.buildings.tolist(), coverage_of_buildings(table), strict=True))
    end = seconds.max() + 0.02 * np.ptp(seconds)
    for i, building in enumerate(rows):
        axes.text(end, i, f"{coverage[building]:.2f}", va="center", fontsize=6, color="0.3")


def _ranks(ids: IntArray) -> IntArray:
    """Number ids by first appearance, so that colours of neighbours lie far apart."""
    found, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(np.where(found == 0, -1, first))
    ranks = np.empty(len(found), dtype=np.int64)
    ranks[order] = np.arange(len(found))
    return np.asarray(ranks[inverse] + (0 if 0 in found else 1))


def _tick_s(seconds: Any) -> float:
    steps = np.diff(np.unique(seconds))
    steps = steps[steps > 0.01]
    return float(np.median(steps)) if len(steps) else 0.1
