"""A COLMAP model laid onto a map that is there: as a session of its own, joined by loops."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from seg2d3d_ros.accounts import FrameCounts, RunReport
from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import InputError
from seg2d3d_ros.io.colmap_model import ColmapModel, clusters_of
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import FloatArray, MapUpdate


@dataclass(frozen=True)
class AlignedModel:
    """Where a model lies.

    Attributes:
        full: The whole map, with it.
        S_map_model: (4, 4) p_map = S_map_model @ p_model, before the refinement of the whole.
        num_loops: Pairs of keyframes that tie it to the map.
        residual_m: Median distance of the landmarks these share.
        num_merged: Landmarks that became one with one of the map.
        counts: All counters of mapping.
    """

    full: MapUpdate
    S_map_model: FloatArray
    num_loops: int
    residual_m: float
    num_merged: int
    counts: dict[str, float]

    @property
    def scale(self) -> float:
        """Return metres of the map per unit of the model."""
        return float(np.cbrt(np.linalg.det(self.S_map_model[:3, :3])))


def align_model(stage: MappingStage, model: ColmapModel, config: Config) -> AlignedModel:
    """Add a described model to a map and refine the whole.

    A similarity ties it where one of both has no metres, else a rigid motion.

    Raises:
        InputError: too few of its keyframes are recognised on the map.
    """
    before = dict(stage.counts)
    S = np.eye(4)
    for cluster in clusters_of(model, config.clusters):
        S = stage.push(cluster).T_map_local
    if stage.counts["parts"] > before.get("parts", 1.0):
        tried, verified = (
            stage.counts.get(n, 0.0) - before.get(n, 0.0)
            for n in ("loops_tried", "loops_verified")
        )
        raise InputError(
            f"the model was not found on the map: {tried:.0f} pairs of keyframes were compared, "
            f"{verified:.0f} recognised each other; three that agree are needed. Do both show the "
            "same street, in the same direction?"
        )
    loops = stage.counts["loops_kept"] - before.get("loops_kept", 0.0)
    full = stage.finish()
    merged = stage.counts.get("landmarks_merged", 0.0) - before.get("landmarks_merged", 0.0)
    residual = stage.counts.get("join_residual_m", float("nan"))
    return AlignedModel(full, S, int(loops), residual, int(merged), dict(stage.counts))


def report_with(
    report: RunReport, model: ColmapModel, aligned: AlignedModel, folder: Path
) -> RunReport:
    """Return the accounts of the map's run with the pictures of the model added to them."""
    frames = dict(report.frames)
    num = Counter(model.rig.cameras[c].name for c in model.pictures[:, 1].tolist())
    for name, n in sorted(num.items()):
        old = frames.get(name, FrameCounts(0, 0))
        frames[name] = replace(old, received=old.received + n, processed=old.processed + n)
    remark = (
        f"COLMAP model {folder.name} aligned: {len(model.frames)} keyframes by "
        f"{aligned.num_loops} loops, {aligned.scale:.4f} m per unit, shared landmarks "
        f"{aligned.residual_m:.2f} m apart (median)"
    )
    return replace(
        report,
        frames=frames,
        counts={**report.counts, **aligned.counts},
        remarks=(*report.remarks, *model.rig.remarks, remark),
    )
