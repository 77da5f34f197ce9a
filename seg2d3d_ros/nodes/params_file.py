"""Writes config/default.yaml from the dataclasses: `python -m seg2d3d_ros.nodes.params_file`."""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
from typing import Any

from seg2d3d_ros.config import Config
from seg2d3d_ros.nodes.options import NodeOptions

_WIDTH = 99
_HEAD = """\
# Every parameter with its default: copy what you change. One file serves `seg2d3d replay`,
# `seg2d3d live` and the launch files (order: default < file < argument). Made by:
#   python -m seg2d3d_ros.nodes.params_file > config/default.yaml
/**:
  ros__parameters:
"""


def render() -> str:
    """Return the text of a parameter file with every default, its help and its range."""
    config = Config()
    sections = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    sections["node"] = NodeOptions()
    return _HEAD + "".join(_section(name, values) for name, values in sections.items())


def _section(name: str, values: Any) -> str:
    lines = [f"    # {(type(values).__doc__ or '').splitlines()[0]}", f"    {name}:"]
    for field in dataclasses.fields(values):
        text = field.metadata["help"] + _range(field.metadata["low"], field.metadata["high"])
        lines += textwrap.wrap(
            text, _WIDTH, initial_indent="      # ", subsequent_indent="      # "
        )
        lines.append(f"      {field.name}: {_value(getattr(values, field.name))}")
    return "\n".join(lines) + "\n"


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f" At least {low:g}."
    return f" At most {high:g}." if low is None else f" {low:g} to {high:g}."


def _value(value: Any) -> str:
    """Return a value as YAML; a float keeps its point, or rcl takes it for an integer."""
    if isinstance(value, float):
        text = repr(value)
        return text if "e" not in text else f"{value:.10f}".rstrip("0")
    return json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(render())
