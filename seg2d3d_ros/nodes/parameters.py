"""ROS parameters made from the configuration dataclasses: one source of defaults and ranges."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile

from seg2d3d_ros.config import Config, default_of, describe, override
from seg2d3d_ros.errors import ConfigError, did_you_mean
from seg2d3d_ros.nodes.options import NodeOptions

_FOREIGN = ("use_sim_time", "qos_overrides.", "start_type_description_service")
_INT_MAX = 2**63 - 1

#: QoS of what travels between the stages: nothing is lost (reliable is rclpy's default).
KEEP_ALL = QoSProfile(depth=0, history=HistoryPolicy.KEEP_ALL)


def declare_parameters(node: Node) -> None:
    """Declare `<section>.<name>` for the whole configuration and `node.<name>` for the options.

    Raises:
        rclpy.exceptions.ParameterException: a given value has the wrong type or is out of range.
        ConfigError: a given parameter is unknown.
    """
    fields = describe() | {f"node.{f.name}": f for f in dataclasses.fields(NodeOptions)}
    for name, field in fields.items():
        default = default_of(field)
        descriptor = _descriptor(field, default)
        if default == []:  # its type cannot be inferred from an empty list: set in a second step
            kind = Parameter.Type.STRING_ARRAY
            given = node.declare_parameter(name, kind, descriptor)
            if given.type_ == Parameter.Type.NOT_SET:  # `ros2 param dump` stops at such a one
                node.set_parameters([Parameter(name, kind, [])])
        else:
            node.declare_parameter(name, default, descriptor)
    _refuse_unknown(node, fields)


def _refuse_unknown(node: Node, known: Iterable[str]) -> None:
    """Raise ConfigError for a given parameter that nobody declared; rclpy would let it pass."""
    given = {name for name in node._parameter_overrides if not name.startswith(_FOREIGN)}
    for name in sorted(given - set(known)):
        of = f"of node '{node.get_name()}'{did_you_mean(name, known)}"
        raise ConfigError(f"unknown parameter '{name}' {of}")


def read_config(node: Node, changed: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration that the node's parameters say, and those about to be changed.

    Raises:
        ConfigError: a value is out of range.
    """
    values = {name: _value(node, name) for name in describe()}
    return override(Config(), values | {k: v for k, v in (changed or {}).items() if k in values})


def read_options(node: Node, changed: Mapping[str, Any] | None = None) -> NodeOptions:
    """Return the node's own options, and those about to be changed.

    Raises:
        ConfigError: a value is not one of those allowed.
    """
    changed = changed or {}
    names = [f.name for f in dataclasses.fields(NodeOptions)]
    values = {n: changed.get(f"node.{n}", _value(node, f"node.{n}")) for n in names}
    if values["image_reliability"] not in ("auto", "reliable", "best_effort"):
        raise ConfigError(
            f"'node.image_reliability' is '{values['image_reliability']}'; it must be auto, "
            "reliable or best_effort"
        )
    return NodeOptions(**values)


def _value(node: Node, name: str) -> Any:
    value = node.get_parameter(name).value
    return value if isinstance(value, (str, bool, int, float)) else list(value)


def _descriptor(field: dataclasses.Field, default: Any) -> ParameterDescriptor:
    low, high = field.metadata["low"], field.metadata["high"]
    made = ParameterDescriptor(
        description=field.metadata["help"],
        dynamic_typing=isinstance(default, float),  # `3` for `3.0`, as in a replay
        additional_constraints="Takes effect when the node is configured.",
    )
    if isinstance(default, bool) or (low is None and high is None):
        return made
    if isinstance(default, int):
        made.integer_range = [
            IntegerRange(
                from_value=-_INT_MAX if low is None else int(low),
                to_value=_INT_MAX if high is None else int(high),
            )
        ]
    elif isinstance(default, float):
        made.floating_point_range = [
            FloatingPointRange(
                from_value=-sys.float_info.max if low is None else float(low),
                to_value=sys.float_info.max if high is None else float(high),
            )
        ]
    return made
