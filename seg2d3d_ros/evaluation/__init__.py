"""How good a result is: metrics against truth, and the baselines they are compared with."""

from seg2d3d_ros.evaluation.report import evaluate

__all__ = ["evaluate"]
