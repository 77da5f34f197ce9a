"""The state of a stage as arrays that can be written and read back: the journal of a run included.

A state is a graph of plain values, arrays and objects of this package. Arrays lie end to end, one
pool per type; the graph is JSON that points into them. Reading makes only objects of this package
and runs no code of the file. The format is in docs/map_format.md.
"""

from __future__ import annotations

import importlib
import json
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.mapping.archive import Arrays, BlockStore

VERSION = 7

_PACKAGE = "seg2d3d_ros."
_PLAIN = frozenset((bool, int, float, str, type(None)))
_json = json.JSONEncoder().encode
_DICTS: dict[str, Callable[[], dict]] = {
    "dict": dict,
    "Counter": Counter,
    "OrderedDict": OrderedDict,
    "defaultdict int": lambda: defaultdict(int),
    "defaultdict float": lambda: defaultdict(float),
    "defaultdict list": lambda: defaultdict(list),
    "defaultdict set": lambda: defaultdict(set),
}


def encode(value: Any, outside: BlockStore) -> dict[str, NDArray[Any]]:
    """Return a value as arrays; where it holds the store `outside`, only that is noted.

    Raises:
        TypeError: it holds something that is no plain value, array or object of this package.
    """
    writer = _Writer(outside)
    graph = writer.node(value, "state")
    classes = json.dumps(writer.classes)
    text = f'{{"version": {VERSION}, "classes": {classes}, "graph": {graph}}}'
    pools = {f"pool_{kind}": np.concatenate(parts) for kind, parts in writer.pools.items()}
    return {"json": np.frombuffer(text.encode(), dtype=np.uint8), **pools}


def decode(arrays: Arrays, outside: BlockStore) -> Any:
    """Return the value that `encode` was given, with the store `outside` in its place.

    Raises:
        ResultError: it was written by another version of this package.
    """
    head = json.loads(arrays["json"].tobytes())
    if head["version"] != VERSION:
        raise ResultError(
            f"the state has version {head['version']}; {VERSION} is needed: map again"
        )
    try:
        return _Reader(arrays, head["classes"], outside).value(head["graph"])
    except (AttributeError, ImportError, IndexError, KeyError) as error:
        raise ResultError(
            f"the state was written by another version of this package ({error!r}): map again"
        ) from error


class _Writer:
    """Walks a graph of values; what is met again is only referred to."""

    def __init__(self, outside: BlockStore) -> None:
        self.classes: list[list[Any]] = []
        self.pools: dict[str, list[NDArray[Any]]] = {}
        self._outside = outside
        self._class_at: dict[tuple[type, tuple[str, ...]], int] = {}
        self._size: Counter[str] = Counter()
        self._met: dict[int, int] = {}
        self._alive: list[Any] = []

    def node(self, v: Any, path: str) -> str:
        if type(v) in _PLAIN:
            return _plain(v)
        if v is self._outside:
            return _node("store")
        if id(v) in self._met:
            return _node("ref", self._met[id(v)])
        if isinstance(v, Enum):
            return _node("enum", *_name(type(v)), v.value)
        if isinstance(v, bytes):
            return _node("bytes", *self._pool(np.frombuffer(v, dtype=np.uint8)), len(v))
        if isinstance(v, np.generic):
            return _node("scalar", *self._pool(np.array([v])))
        if type(v) is tuple:
            return _node("tuple", inner=[self.node(x, path) for x in v])
        if type(v) is frozenset:
            return _node("frozenset", inner=[self.node(x, path) for x in sorted(v, key=repr)])
        return self._shared(v, path)

    def _shared(self, v: Any, path: str) -> str:
        self._met[id(v)] = len(self._alive)
        self._alive.append(v)
        if isinstance(v, np.ndarray) and v.dtype != object:
            return _node("array", *self._pool(v), *v.shape)
        if isinstance(v, cKDTree):
            return _node("tree", *self._pool(np.asarray(v.data)), *v.data.shape)
        if type(v) in (list, set):
            kind = type(v).__name__
            if len(v) > 8 and all(type(x) is int for x in v):
                return _node(f"{kind} int", *self._pool(np.array(list(v), dtype=np.int64)), len(v))
            return _node(kind, inner=[self.node(x, f"{path}[]") for x in v])
        if isinstance(v, dict):
            return self._dict(v, path)
        if type(v).__module__.startswith(_PACKAGE):
            return self._object(v, path)
        raise TypeError(f"{path} is a {type(v).__name__}, which cannot be written")

    def _dict(self, v: dict, path: str) -> str:
        name = type(v).__name__
        if isinstance(v, defaultdict):
            name += f" {v.default_factory.__name__ if v.default_factory else None}"  # type: ignore[attr-defined]
        if name not in _DICTS:
            raise TypeError(f"{path} is a {name}, which cannot be written")
        for kind, dtype in ((int, np.int64), (float, np.float64)):
            is_packed = all(type(k) is int and type(x) is kind for k, x in v.items())
            if len(v) > 4 and is_packed:
                keys = self._pool(np.array(list(v), dtype=np.int64))
                values = self._pool(np.array([*v.values()], dtype))
                return _node("packed", name, len(v), *keys, *values)
        flat = [
            n for k, x in v.items() for n in (self.node(k, path), self.node(x, f"{path}[{k!r}]"))
        ]
        return _node("dict", name, inner=flat)

    def _object(self, v: Any, path: str) -> str:
        slots = (n for n in _slots(type(v)) if hasattr(v, n))  # type: ignore[arg-type]
        names = (*slots, *getattr(v, "__dict__", ()))
        key = (type(v), names)
        if key not in self._class_at:
            self._class_at[key] = len(self.classes)
            self.classes.append([*_name(type(v)), *names])
        values = [getattr(v, n) for n in names]
        inner = [
            _plain(x) if type(x) in _PLAIN else self.node(x, f"{path}.{n}")
            for n, x in zip(names, values, strict=True)
        ]
        return _node("object", self._class_at[key], inner=inner)

    def _pool(self, v: NDArray[Any]) -> tuple[str, int]:
        kind = v.dtype.str.lstrip("<|=")
        at = self._size[kind]
        self.pools.setdefault(kind, []).append(np.ascontiguousarray(v).ravel())
        self._size[kind] += v.size
        return kind, at


@cache
def _slots(of: type) -> tuple[str, ...]:
    return tuple(s for c in of.__mro__ for s in getattr(c, "__slots__", ()))


def _plain(v: None | bool | float | str) -> str:
    """Return a plain value as JSON; that of numbers, which most are, the encoder makes slowly."""
    if type(v) is int:
        return int.__repr__(v)
    if type(v) is float and math.isfinite(v):
        return float.__repr__(v)
    return _json(v)


def _node(kind: str, *numbers: Any, inner: Iterable[str] = ()) -> str:
    """Return a node as text: as lists, the nodes of a long drive would take ten times as much."""
    return f"[{', '.join([*map(_plain, (kind, *numbers)), *inner])}]"


class _Reader:
    """Makes values in the order in which they were met."""

    def __init__(self, arrays: Arrays, classes: list[list[Any]], outside: BlockStore) -> None:
        self._pools = {n.removeprefix("pool_"): v for n, v in arrays.items() if n != "json"}
        self._classes = [(_class(module, name), names) for module, name, *names in classes]
        self._outside = outside
        self._met: list[Any] = []

    def value(self, node: Any) -> Any:
        if not isinstance(node, list):
            return node
        kind, *rest = node
        if kind == "ref":
            return self._met[rest[0]]
        if kind == "tuple":
            return tuple(self.value(n) for n in rest)
        if kind in ("store", "enum", "bytes", "scalar", "frozenset"):
            return self._unshared(kind, rest)
        return self._shared(kind, rest)

    def _unshared(self, kind: str, rest: list[Any]) -> Any:
        if kind == "store":
            return self._outside
        if kind == "enum":
            return _class(*rest[:2])(rest[2])
        if kind == "frozenset":
            return frozenset(self.value(n) for n in rest)
        if kind == "bytes":
            return self._take(*rest).tobytes()
        if kind == "scalar":
            return self._pools[rest[0]][rest[1]]
        raise KeyError(kind)

    def _shared(self, kind: str, rest: list[Any]) -> Any:
        if kind in ("array", "tree"):
            array = self._take(*rest)
            self._met.append(array if kind == "array" else cKDTree(array))
            return self._met[-1]
        if kind in ("list int", "set int"):
            numbers = self._take(*rest).tolist()
            self._met.append(numbers if kind == "list int" else set(numbers))
            return self._met[-1]
        if kind == "packed":
            name, num, key_kind, key_at, kind, at = rest
            made = _DICTS[name]()
            self._met.append(made)
            keys = self._take(key_kind, key_at, num).tolist()
            made.update(dict(zip(keys, self._take(kind, at, num).tolist(), strict=True)))
            return made
        return self._container(kind, rest)

    def _container(self, kind: str, rest: list[Any]) -> Any:
        at = len(self._met)
        if kind == "object":
            of, names = self._classes[rest[0]]
            made = of.__new__(of)
            self._met.append(made)
            for name, node in zip(names, rest[1:], strict=True):
                object.__setattr__(made, name, self.value(node))
            return made
        make = {"list": list, "set": set}.get(kind) or _DICTS[rest[0]]
        self._met.append(make())
        if kind == "list":
            self._met[at].extend(self.value(n) for n in rest)
        elif kind == "set":
            self._met[at].update([self.value(n) for n in rest])
        else:
            for key, value in zip(rest[1::2], rest[2::2], strict=True):
                self._met[at][self.value(key)] = self.value(value)
        return self._met[at]

    def _take(self, kind: str, at: int, *shape: int) -> NDArray[Any]:
        size = int(np.prod(shape, dtype=np.int64))
        return self._pools[kind][at : at + size].reshape(shape).copy()


def _name(of: type) -> tuple[str, str]:
    return of.__module__, of.__qualname__


def _class(module: str, name: str) -> Any:
    """Return a class of this package by name; nothing else is ever made."""
    home = _home(module) if module.startswith(_PACKAGE) else ""
    found = getattr(importlib.import_module(home), name) if home else None
    if not isinstance(found, type) or found.__module__ != home:
        raise KeyError(f"{module}.{name}")
    return found


@cache
def _home(module: str) -> str:
    """Return where a module is by now: it may have gone to another folder since it was written."""
    root, parts = Path(__file__).parents[1], module.removeprefix(_PACKAGE).split(".")
    found = list((root / parts[0]).rglob(f"{parts[-1]}.py"))
    if len(found) != 1:
        return module
    return _PACKAGE + ".".join(found[0].relative_to(root).with_suffix("").parts)
