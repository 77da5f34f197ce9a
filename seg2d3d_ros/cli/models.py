"""`seg2d3d models`: which models there are, whether their weights are there, and where they go."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from seg2d3d_ros.config import Config, load
from seg2d3d_ros.segmentation.weights import (
    Model,
    check_model,
    find_model,
    load_models,
    weights_dir,
)

HELP = "list segmentation models, verify their weights, say where to put them"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=("list", "verify", "where"))
    parser.add_argument("models", nargs="*", metavar="MODEL", help="models; all if none is named")
    parser.add_argument("--params-file", help="configuration file")
    parser.add_argument("--weights-dir", help="folder that holds the weights")
    parser.add_argument("--manifest", help="YAML file with further models")


def run(args: argparse.Namespace) -> int:
    """Run the command; verify returns 1 if a file is wrong, or what is asked for not there.

    That is every file of the models that are named, or of one model at least where none is.
    """
    config = load(args.params_file, _arguments(args))
    models = (
        [find_model(config, name) for name in args.models]
        if args.models
        else list(load_models(config).values())
    )
    if args.action == "list":
        return _list(config, models)
    if args.action == "where":
        return _where(config, models)
    return _verify(config, models, bool(args.models))


def _arguments(args: argparse.Namespace) -> dict[str, str]:
    given = {
        "segmentation.weights_dir": args.weights_dir,
        "segmentation.weights_manifest": args.manifest,
    }
    return {key: value for key, value in given.items() if value is not None}


def _list(config: Config, models: Sequence[Model]) -> int:
    width = max(len(model.name) for model in models)
    for model in models:
        states = {check.state for check in check_model(config, model)}
        state = next((s for s in ("missing", "wrong", "unpinned") if s in states), "ok")
        licences = "; ".join(dict.fromkeys(w.licence for w in model.weights.values()))
        print(f"{model.name:{width}}  {model.backend:13}  {state:8}  {licences}")
    return 0


def _where(config: Config, models: Sequence[Model]) -> int:
    for weights in dict.fromkeys(w for model in models for w in model.weights.values()):
        print(weights_dir(config) / weights.name)
        print(f"  from {weights.source}")
        print(f"  licence: {weights.licence}")
        for file in weights.files:
            print(f"  {file.name}")
    return 0


def _verify(config: Config, models: Sequence[Model], are_named: bool) -> int:
    refused = {"wrong", "unpinned"} if config.segmentation.require_pinned else {"wrong"}
    checks = [list(check_model(config, model)) for model in models]
    for check in {c.path: c for of_model in checks for c in of_model}.values():
        print(f"{check.state:8}  {check.path}" + (f"  {check.reason}" * bool(check.reason)))
    states = [{c.state for c in of_model} for of_model in checks]
    is_whole = ["missing" not in of_model for of_model in states]
    is_enough = all(is_whole) if are_named else any(is_whole)
    return 1 if not is_enough or any(refused & of_model for of_model in states) else 0
