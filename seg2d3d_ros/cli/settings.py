"""The configuration on the command line: `--params-file`, `--set key=value`, `--backend`."""

from __future__ import annotations

import argparse
from typing import Any

import yaml

from seg2d3d_ros import config as configuration
from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that choose the configuration."""
    group = parser.add_argument_group("configuration", "default < file < argument")
    group.add_argument("--params-file", metavar="YAML", help="parameter file, as for the nodes")
    group.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="assignments",
        help="set one key, such as clusters.max_features=800; may be repeated",
    )
    group.add_argument(
        "--backend", metavar="NAME", help="segmentation backend: auto, labels, classical, ..."
    )


def load(args: argparse.Namespace) -> Config:
    """Return the configuration that the arguments choose.

    Raises:
        ConfigError: a file, key or value is wrong.
    """
    return configuration.load(args.params_file, values(args))


def values(args: argparse.Namespace) -> dict[str, Any]:
    """Return the values of single keys that the arguments set.

    Raises:
        ConfigError: one cannot be read.
    """
    found = dict(parse_assignment(text) for text in args.assignments)
    if args.backend is not None:
        found["segmentation.backend"] = args.backend
    return found


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return key and value of `key=value`; the value becomes what the key holds.

    Raises:
        ConfigError: there is no `=`, or the value cannot be read.
    """
    key, found, value = text.partition("=")
    key = key.strip()
    if not found or not key:
        raise ConfigError(f"'{text}' is no assignment; key=value is needed")
    declared = configuration.describe().get(key)
    default = None if declared is None else configuration.default_of(declared)
    if isinstance(default, str):
        return key, value
    try:
        if isinstance(default, float):
            return key, float(value)
        parsed = yaml.safe_load(value)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"the value of '{text}' cannot be read: {error}") from error
    if isinstance(default, list) and not isinstance(parsed, list):
        parsed = [] if parsed is None else yaml.safe_load(f"[{value}]")
    return key, parsed
