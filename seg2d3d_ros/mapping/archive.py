"""What frames saw and showed: at hand while it is new, frozen in a store in blocks after that."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.types import IntArray, Mask

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

_CACHED_BLOCKS = 16
_GROUP = "frames"


class BlockStore(Protocol):
    """Groups of arrays by name, kept in memory or on disk."""

    def put(self, name: str, arrays: Arrays) -> None:
        """Keep a group; one of the same name is replaced."""

    def get(self, name: str) -> dict[str, NDArray[Any]]:
        """Return a group; KeyError where there is none of that name."""

    def drop(self, name: str) -> None:
        """Forget a group; KeyError where there is none of that name."""

    def names(self) -> list[str]:
        """Return the names of all groups, sorted."""

    def catch_up(self, other: Self) -> None:
        """Know what another process did with a copy of this store."""


class MemoryStore:
    """A store in memory, for tests and short drives."""

    def __init__(self) -> None:
        """Start empty."""
        self._groups: dict[str, dict[str, NDArray[Any]]] = {}

    def put(self, name: str, arrays: Arrays) -> None:
        """Keep a group; one of the same name is replaced."""
        self._groups[name] = dict(arrays)

    def get(self, name: str) -> dict[str, NDArray[Any]]:
        """Return a group; KeyError where there is none of that name."""
        return dict(self._groups[name])

    def drop(self, name: str) -> None:
        """Forget a group; KeyError where there is none of that name."""
        del self._groups[name]

    def names(self) -> list[str]:
        """Return the names of all groups, sorted."""
        return sorted(self._groups)

    def catch_up(self, other: MemoryStore) -> None:
        """Take the groups over that another process put into a copy of this store."""
        self._groups = other._groups


@dataclass(frozen=True)
class FrameContent:
    """What a rig frame saw and what its pictures show.

    Attributes:
        ids: (n,) landmarks seen.
        camera: (n,) by which camera.
        uv_px: (n, 2) where, float32.
        masks: Masks by camera.
        stamp_ns: Stamp of the frame, for those who read the archive alone.
    """

    ids: IntArray
    camera: IntArray
    uv_px: NDArray[np.float32]
    masks: dict[int, tuple[Mask, ...]] = field(default_factory=dict)
    stamp_ns: int = 0

    @property
    def content(self) -> FrameContent:
        """Return itself: this one is at hand."""
        return self

    @property
    def seen(self) -> FrameContent:
        """Return itself, likewise."""
        return self


class Archive:
    """Frozen contents by block and row; the blocks read last are kept at hand."""

    def __init__(self, store: BlockStore) -> None:
        """Freeze into a store, which may hold blocks already."""
        self.store = store
        self._recent: OrderedDict[int, list[FrameContent]] = OrderedDict()
        self._seen: tuple[int, list[FrameContent]] = (-1, [])
        self.num_blocks = sum(name.startswith(f"{_GROUP}/") for name in store.names())

    def freeze(self, contents: Sequence[FrameContent]) -> list[Frozen]:
        """Write contents as the next block; return where each one is."""
        block, self.num_blocks = self.num_blocks, self.num_blocks + 1
        self.store.put(self.name(block), encode(contents))
        return [Frozen(self, block, row) for row in range(len(contents))]

    def read(self, block: int) -> list[FrameContent]:
        """Return the contents of a block."""
        contents = self._recent.pop(block, None)
        if contents is None:
            contents = decode(self.store.get(self.name(block)))
            while len(self._recent) >= _CACHED_BLOCKS:
                self._recent.popitem(last=False)
        self._recent[block] = contents
        return contents

    def seen(self, block: int) -> list[FrameContent]:
        """Return the contents of a block but for masks, which take most of the time to read."""
        if block in self._recent:
            return self._recent[block]
        if self._seen[0] != block:
            self._seen = (block, decode(self.store.get(self.name(block)), with_masks=False))
        return self._seen[1]

    def forget(self) -> None:
        """Let go of the blocks at hand; they are in the store."""
        self._recent.clear()
        self._seen = (-1, [])

    def name(self, block: int) -> str:
        """Return the name of a block in the store."""
        return f"{_GROUP}/{block:06d}"


@dataclass(frozen=True)
class Frozen:
    """Where a content lies in the archive."""

    archive: Archive
    block: int
    row: int

    @property
    def content(self) -> FrameContent:
        """Return the content, read from the store unless its block is at hand."""
        return self.archive.read(self.block)[self.row]

    @property
    def seen(self) -> FrameContent:
        """Return the content without its masks, if these are not at hand."""
        return self.archive.seen(self.block)[self.row]


# ------------------------------------------------------------------ format (docs/map_format.md)


def encode(contents: Sequence[FrameContent]) -> dict[str, NDArray[Any]]:
    """Return contents as flat arrays; those of frame k end where the next one's begin."""
    rows = [(k, c, m) for k, f in enumerate(contents) for c in sorted(f.masks) for m in f.masks[c]]
    pictures = [(k, c) for k, f in enumerate(contents) for c in sorted(f.masks)]
    masks = [m for _, _, m in rows]
    models = sorted({m.embedding_model_id for m in masks})
    embeddings = [_flat(m.embedding) for m in masks]
    return {
        "stamp_ns": np.array([f.stamp_ns for f in contents], dtype=np.int64),
        "num_seen": np.array([len(f.ids) for f in contents], dtype=np.int32),
        "seen_id": _joined([f.ids for f in contents], np.int64),
        "seen_camera": _joined([f.camera for f in contents], np.int16),
        "seen_uv_px": _joined([np.ravel(f.uv_px) for f in contents], np.float32).reshape(-1, 2),
        "picture": np.array(pictures, dtype=np.int32).reshape(-1, 2),
        "mask_picture": np.array([(k, c) for k, c, _ in rows], dtype=np.int32).reshape(-1, 2),
        "mask_label": np.array([m.label for m in masks], dtype=np.int64),
        "mask_class_id": np.array([m.class_id for m in masks], dtype=np.int64),
        "mask_score": np.array([m.score for m in masks], dtype=np.float64),
        "mask_bbox_px": np.array([m.bbox_px for m in masks], dtype=np.int32).reshape(-1, 4),
        "num_runs": np.array([len(m.runs) for m in masks], dtype=np.int32),
        "run_lengths": _smallest(_lengths([m.runs for m in masks])),
        "num_embedding": np.array([len(e) for e in embeddings], dtype=np.int32),
        "embedding": _joined(embeddings, np.float32),
        "model_id": np.array(models, dtype=np.str_) if models else np.zeros(0, dtype="U1"),
        "mask_model": np.array([models.index(m.embedding_model_id) for m in masks], np.int32),
        "num_crop": np.array([len(m.crop_jpeg) for m in masks], dtype=np.int32),
        "crop_jpeg": np.frombuffer(b"".join(m.crop_jpeg for m in masks), dtype=np.uint8),
    }


def decode(a: Arrays, with_masks: bool = True) -> list[FrameContent]:
    """Return the contents that `encode` was given, or all of them but masks."""
    seen = _bounds(a["num_seen"])
    masks: list[dict[int, list[Mask]]] = [{} for _ in a["num_seen"]]
    for k, c in a["picture"].tolist():
        masks[k][c] = []
    if with_masks:
        for (k, c), mask in zip(a["mask_picture"].tolist(), _masks(a), strict=True):
            masks[k][c].append(mask)
    ids, camera, uv_px = a["seen_id"], a["seen_camera"].astype(np.int64), a["seen_uv_px"]
    return [
        FrameContent(
            ids[low:high],
            camera[low:high],
            uv_px[low:high],
            {c: tuple(m) for c, m in of_camera.items()},
            stamp_ns,
        )
        for low, high, of_camera, stamp_ns in zip(
            seen[:-1], seen[1:], masks, a["stamp_ns"].tolist(), strict=True
        )
    ]


def _masks(a: Arrays) -> list[Mask]:
    runs, crops = _bounds(a["num_runs"]), _bounds(a["num_crop"])
    vectors, models = _bounds(a["num_embedding"]), a["model_id"].tolist()
    columns = [a[n].tolist() for n in ("mask_label", "mask_class_id", "mask_score", "mask_model")]
    jpeg = a["crop_jpeg"].tobytes()
    ends = np.concatenate([[0], np.cumsum(a["run_lengths"], dtype=np.int64)])
    starts = np.repeat(ends[runs[:-1]], a["num_runs"])
    boundaries = (ends[1:] - starts).astype(np.uint32)
    out = []
    for i, (label, class_id, score, model) in enumerate(zip(*columns, strict=True)):
        has_embedding = vectors[i] < vectors[i + 1]
        out.append(
            Mask(
                label=label,
                class_id=class_id,
                score=score,
                bbox_px=tuple(a["mask_bbox_px"][i].tolist()),
                runs=boundaries[runs[i] : runs[i + 1]],
                embedding=a["embedding"][vectors[i] : vectors[i + 1]] if has_embedding else None,
                embedding_model_id=models[model],
                crop_jpeg=jpeg[crops[i] : crops[i + 1]],
            )
        )
    return out


def _flat(embedding: NDArray[np.float32] | None) -> NDArray[np.float32]:
    return np.zeros(0, dtype=np.float32) if embedding is None else embedding


def _joined(parts: Sequence[NDArray[Any]], kind: Any) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype=kind), *parts]).astype(kind)


def _lengths(runs: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint32]:
    """Return how far each boundary of masks lies behind the one before it, or behind the start."""
    boundaries = _joined(runs, np.uint32)
    lengths = np.diff(boundaries, prepend=np.uint32(0))
    num = np.array([len(r) for r in runs], dtype=np.int64)
    first = (np.cumsum(num) - num)[num > 0]
    lengths[first] = boundaries[first]
    return lengths


def _smallest(values: NDArray[np.uint32]) -> NDArray[Any]:
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _bounds(sizes: NDArray[Any]) -> list[int]:
    return [0, *np.cumsum(sizes, dtype=np.int64).tolist()]
