"""Model weights: which files a model needs, where they lie, and whether they are the right ones.

Nothing is downloaded. A file is hashed once; the result is kept by path, size and time of change
in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import WeightsError, did_you_mean
from seg2d3d_ros.segmentation.checkpoints import find_damage

_LOG = logging.getLogger(__name__)

MANIFEST = Path(__file__).with_name("weights.yaml")


@dataclass(frozen=True)
class WeightFile:
    """A file of some weights; hash and size are None where they are not known."""

    name: str
    sha256: str | None = None
    num_bytes: int | None = None


@dataclass(frozen=True)
class Weights:
    """The files of one network, their licence and where they come from."""

    name: str
    files: tuple[WeightFile, ...]
    licence: str
    source: str


@dataclass(frozen=True)
class Model:
    """A backend with the weights of each role in it; `smaller` may replace it."""

    name: str
    backend: str
    weights: dict[str, Weights]
    smaller: str = ""


@dataclass(frozen=True)
class OpenModel:
    """A model whose files were verified: the folder of each role, and the name of its files."""

    name: str
    backend: str
    folders: dict[str, Path]
    files: dict[str, tuple[str, ...]]

    def file(self, role: str) -> Path:
        """Return the path of a role's only file."""
        return self.folders[role] / self.files[role][0]


@dataclass(frozen=True)
class FileCheck:
    """What was found of a file: `ok`, `unpinned`, `missing` or `wrong`, and why."""

    weights: str
    path: Path
    state: str
    reason: str = ""


def load_models(config: Config) -> dict[str, Model]:
    """Read the manifest of the package and that of the configuration, by model name.

    Raises:
        WeightsError: a manifest cannot be read or names what it does not define.
    """
    paths = [MANIFEST]
    if config.segmentation.weights_manifest:
        paths.append(Path(config.segmentation.weights_manifest).expanduser())
    weights: dict[str, Weights] = {}
    models: dict[str, Model] = {}
    for path in paths:
        tree = _read(path)
        try:
            weights |= {k: _to_weights(k, v) for k, v in (tree.get("weights") or {}).items()}
            models |= {k: _to_model(k, v, weights) for k, v in (tree.get("models") or {}).items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise WeightsError(
                f"the weights manifest {path} has an entry without {error}; compare {MANIFEST}"
            ) from error
    return models


def find_model(config: Config, name: str) -> Model:
    """Return a model of the manifests by name.

    Raises:
        WeightsError: there is none of that name.
    """
    models = load_models(config)
    if name not in models:
        known = f"there are: {', '.join(models)}{did_you_mean(name, models)}"
        raise WeightsError(f"no model is called '{name}'; {known}")
    return models[name]


def default_model(config: Config, backend: str) -> Model:
    """Return the configured model if it is the backend's, else the first one of the backend.

    Raises:
        WeightsError: the configured model is another backend's, or the backend has none.
    """
    if config.segmentation.model:
        model = find_model(config, config.segmentation.model)
        if model.backend == backend:
            return model
        raise WeightsError(
            f"model '{model.name}' is one of backend '{model.backend}', but backend '{backend}' "
            "was asked for; change segmentation.model or segmentation.backend"
        )
    for model in load_models(config).values():
        if model.backend == backend:
            return model
    raise WeightsError(f"no manifest names a model for the backend '{backend}'")


def check_model(config: Config, model: Model) -> Iterator[FileCheck]:
    """Check every file of a model."""
    folder = weights_dir(config)
    cache = _HashCache()
    for weights in dict.fromkeys(model.weights.values()):
        for file in weights.files:
            yield _check_file(weights.name, folder / weights.name / file.name, file, cache)
    cache.save()


def open_model(config: Config, model: Model | None = None) -> OpenModel:
    """Verify the files of a model (the configured one if none is given) and say where they are.

    Raises:
        WeightsError: a file is missing, damaged, not the pinned one, or not pinned at all under
            `require_pinned`.
    """
    if model is None:
        model = find_model(config, config.segmentation.model)
    checks = list(check_model(config, model))
    sources = {w.name: w for w in model.weights.values()}
    for state, refused in (
        ("missing", True),
        ("wrong", True),
        ("unpinned", config.segmentation.require_pinned),
    ):
        found = [c for c in checks if c.state == state]
        if found and refused:
            raise WeightsError(_complaint(model, found, sources[found[0].weights]))
        if found:
            names = ", ".join(str(c.path) for c in found)
            _LOG.warning("weights without a pinned hash are used: %s", names)
    folder = weights_dir(config)
    return OpenModel(
        model.name,
        model.backend,
        {role: folder / weights.name for role, weights in model.weights.items()},
        {role: tuple(f.name for f in w.files) for role, w in model.weights.items()},
    )


def weights_dir(config: Config) -> Path:
    """Return the folder that holds the weights' folders."""
    return Path(config.segmentation.weights_dir).expanduser()


def _complaint(model: Model, found: list[FileCheck], weights: Weights) -> str:
    first = found[0]
    files = ", ".join(c.path.name for c in found if c.weights == weights.name)
    if first.state == "missing":
        return (
            f"model '{model.name}' needs {files}, which {first.path.parent} does not hold. Put "
            f"them there from {weights.source} (licence: {weights.licence}), or set "
            "segmentation.weights_dir to where they are"
        )
    if first.state == "unpinned":
        return (
            f"model '{model.name}': {files} in {first.path.parent} have no pinned hash, and "
            "segmentation.require_pinned is set. Pin them in segmentation.weights_manifest "
            "(`seg2d3d models verify` prints their hashes) or unset it"
        )
    return (
        f"model '{model.name}' cannot use {first.path}: {first.reason}. Fetch it again from "
        f"{weights.source}"
    )


def _check_file(weights: str, path: Path, file: WeightFile, cache: _HashCache) -> FileCheck:
    if not path.is_file():
        return FileCheck(weights, path, "missing")
    size = path.stat().st_size
    if file.num_bytes is not None and size != file.num_bytes:
        reason = f"it has {size} bytes, {file.num_bytes} are needed"
        return FileCheck(weights, path, "wrong", reason)
    if damage := find_damage(path):
        return FileCheck(weights, path, "wrong", damage)
    found = cache.sha256(path)
    if file.sha256 is None:
        return FileCheck(weights, path, "unpinned", f"sha256 {found}")
    if found != file.sha256.lower():
        reason = f"its sha256 is {found}, {file.sha256} is needed"
        return FileCheck(weights, path, "wrong", reason)
    return FileCheck(weights, path, "ok")


class _HashCache:
    """Hashes of files by path, size and time of change."""

    def __init__(self) -> None:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self._path = Path(base) / "seg2d3d" / "weights.json"
        self._is_changed = False
        try:
            self._known: dict[str, list[Any]] = json.loads(self._path.read_text())
        except FileNotFoundError:
            self._known = {}
        except (OSError, ValueError) as error:
            _LOG.warning("the cache of hashes %s is read as empty: %s", self._path, error)
            self._known = {}

    def sha256(self, path: Path) -> str:
        status = path.stat()
        key = str(path.resolve())
        state = [status.st_size, status.st_mtime_ns]
        known = self._known.get(key)
        if known is not None and known[:2] == state:
            return str(known[2])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._known[key] = [*state, digest]
        self._is_changed = True
        return digest

    def save(self) -> None:
        if not self._is_changed:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(self._known))
            partial.replace(self._path)
        except OSError as error:
            _LOG.warning("hashes will be computed again next time: %s", error)


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WeightsError(f"cannot read the weights manifest {path}: {error}") from error
    if not isinstance(tree, dict) or tree.get("version") != 1:
        raise WeightsError(f"the weights manifest {path} does not begin with 'version: 1'")
    return tree


def _to_weights(name: str, entry: dict[str, Any]) -> Weights:
    files = tuple(
        WeightFile(file, (facts or {}).get("sha256"), (facts or {}).get("bytes"))
        for file, facts in entry["files"].items()
    )
    return Weights(name, files, entry["licence"], entry["source"])


def _to_model(name: str, entry: dict[str, Any], known: dict[str, Weights]) -> Model:
    roles = {role: known[weights] for role, weights in entry["weights"].items()}
    return Model(name, entry["backend"], roles, entry.get("smaller", ""))
