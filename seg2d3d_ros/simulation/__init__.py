"""A street with truth, for the demo, the tests and the evaluation."""

from seg2d3d_ros.simulation.options import SimulationOptions
from seg2d3d_ros.simulation.recording import Summary, simulate

__all__ = ["SimulationOptions", "Summary", "simulate"]
