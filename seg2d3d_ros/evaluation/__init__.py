"""How good a result is: metrics against truth, and the baselines they are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg2d3d_ros.evaluation.report import judge
from seg2d3d_ros.evaluation.trajectory import Poses
from seg2d3d_ros.evaluation.truth import read_result, read_truth

__all__ = ["evaluate", "judge", "read_result", "read_truth"]


def evaluate(
    result_dir: str | Path, truth_path: str | Path, odometry: Poses | None = None
) -> dict[str, Any]:
    """Judge a result folder against a truth folder or a KITTI pose file; see `report.judge`.

    Args:
        result_dir: Folder that `replay --out` wrote.
        truth_path: Truth folder of `simulate`, or a KITTI pose file.
        odometry: Dead reckoning that the run was given (T_odom_base), judged beside the result.

    Raises:
        ResultError: the result folder is damaged.
        InputError: the truth is damaged, or result and truth have no stamp in common.
    """
    return judge(read_result(result_dir), read_truth(truth_path), odometry)
