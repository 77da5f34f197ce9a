"""Draw how votes between places become instances, by the package's own functions on a toy street.

    python docs/figures/draw_association.py docs/figures/association.png

Two facades of 20 places each are seen in 24 pictures. In a third of the pictures one mask covers
both houses, in another third the left house has two masks. Each picture alone misleads in two of
three cases; the sums of votes do not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from scipy import sparse

from seg2d3d_ros.config import MappingConfig
from seg2d3d_ros.mapping.association.votes import VoteGraph, picture_votes
from seg2d3d_ros.mapping.partition import Edges, greedy_partition

COLUMNS, ROWS, BORDER, STEP_M = 10, 4, 5, 1.0
COLORS = ("#d1495b", "#00798c", "#edae49", "#66a182")


def main() -> None:
    """Sum the votes of 24 pictures, part the places, draw three panels."""
    parser = argparse.ArgumentParser(description="Figure of the association.")
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    u, v = (a.ravel() for a in np.meshgrid(np.arange(COLUMNS), np.arange(ROWS)))
    points = np.stack([u * STEP_M, v * STEP_M, np.zeros(len(u))], axis=1)
    graph = VoteGraph()
    for k in range(24):
        graph.add([vote(points, u, k)])
    votes = sparse.triu(graph.around(np.arange(len(points)))[0], format="coo")
    edges = Edges(len(points), votes.row, votes.col, votes.data)
    groups = greedy_partition(edges, MappingConfig().min_vote)
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.1), constrained_layout=True)
    draw_masks(axes[0], points)
    draw_votes(axes[1], points, edges)
    draw_groups(axes[2], points, groups)
    finish_axes()
    figure.savefig(out, dpi=90)


def masks_of(u: np.ndarray, picture: int) -> np.ndarray:
    """Return the mask (n,) of each place in one of the three kinds of pictures."""
    house = (u >= BORDER).astype(np.int64)
    if picture % 3 == 1:
        return np.zeros_like(house)
    if picture % 3 == 2:
        return np.where(house == 1, 2, (u >= 2).astype(np.int64))
    return house


def vote(points: np.ndarray, u: np.ndarray, picture: int):
    """Return the votes of one picture; each sees two places in three, others every time."""
    seen = np.random.default_rng(picture).random(len(points)) < 0.67
    keys = np.arange(len(points))[seen]
    sigma = np.full(len(keys), 0.1, dtype=np.float32)
    return picture_votes(keys, points[seen], sigma, masks_of(u, picture)[seen], 8.0)


def draw_masks(axis, points: np.ndarray) -> None:
    """Show the three kinds of pictures, one below the other."""
    for k, name in enumerate(("right", "one mask over both houses", "left house in two masks")):
        mask = masks_of(points[:, 0].astype(int), k)
        y = points[:, 1] * 0.5 - k * 3.0
        axis.scatter(points[:, 0], y, c=[COLORS[m] for m in mask], s=26)
        axis.text(-0.4, y.max() + 0.45, f"8 pictures: {name}", fontsize=9)
    axis.set(title="masks in the pictures", ylim=(-6.6, 2.6))


def draw_votes(axis, points: np.ndarray, edges: Edges) -> None:
    """Show the sums between neighbouring places: blue joins, red parts."""
    for a, b, w in zip(edges.first, edges.second, edges.weight, strict=True):
        if np.linalg.norm(points[a] - points[b]) < 1.5:
            color = "#1f6fb2" if w > MappingConfig().min_vote else "#c1121f"
            axis.plot(*points[[a, b], :2].T, color=color, lw=0.25 + abs(w) * 0.16, zorder=1)
    axis.scatter(*points[:, :2].T, c="#444", s=26, zorder=2)
    axis.set(title="sums of votes (blue joins, red parts)", aspect="equal")


def draw_groups(axis, points: np.ndarray, groups: np.ndarray) -> None:
    """Show the groups (n,) of places that the partition leaves."""
    axis.scatter(*points[:, :2].T, c=[COLORS[k % len(COLORS)] for k in groups], s=40)
    axis.axvline(BORDER - 0.5, color="#999", lw=1, ls=":")
    axis.set(title=f"{groups.max() + 1} instances; dotted: the true border", aspect="equal")


def finish_axes() -> None:
    """Take the ticks off, leave room around."""
    for axis in plt.gcf().axes:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.margins(0.08)


if __name__ == "__main__":
    main()
