"""A frame of the map, and how frames move when the map does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.archive import FrameContent, Frozen
from seg2d3d_ros.types import Camera, FloatArray, IntArray, Mask

NOTHING_SEEN = FrameContent(
    np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.float32)
)


@dataclass
class MapFrame:
    """A rig frame in the world: its pose, what it saw and what its pictures show.

    Attributes:
        stamp_ns: Stamp of the rig frame.
        T_world_base: (4, 4).
        is_keyframe: Whether its observations constrain the bundle adjustment.
        cameras: Cameras whose pictures it holds, with their stamps.
        picture_stamps_ns: Stamp of each picture.
        status: `tracked` or `coasted`.
        held: What it saw and showed, or where that lies in the archive.
        reference: Position of the keyframe this frame hangs on; its own for a keyframe.
        T_ref_base: (4, 4) pose in that keyframe.
    """

    stamp_ns: int
    T_world_base: FloatArray
    is_keyframe: bool
    cameras: tuple[int, ...]
    picture_stamps_ns: tuple[int, ...]
    status: str
    held: FrameContent | Frozen
    reference: int = 0
    T_ref_base: FloatArray = field(default_factory=lambda: np.eye(4))

    @property
    def content(self) -> FrameContent:
        """Return what it saw and showed; read from the archive where it is frozen."""
        return self.held.content

    @property
    def ids(self) -> IntArray:
        """Return the landmarks seen (n,)."""
        return self.content.ids

    @property
    def camera(self) -> IntArray:
        """Return by which camera each landmark was seen (n,)."""
        return self.content.camera

    @property
    def uv_px(self) -> np.ndarray:
        """Return where each landmark was seen (n, 2)."""
        return self.content.uv_px

    @property
    def masks(self) -> dict[int, tuple[Mask, ...]]:
        """Return the masks by camera."""
        return self.content.masks


def carry(frames: Sequence[MapFrame], motion: FloatArray, cameras: Sequence[Camera]) -> FloatArray:
    """Move each frame in the world by its own S: p_new = S @ p_old.

    Where the scale changes it is the cameras that go where S takes them: how far they sit from
    base_link is metric and does not change.

    Args:
        frames: Changed in place.
        motion: (n, 4, 4) similarities.
        cameras: Of the rig.

    Returns:
        By how much each one scales (n,).
    """
    grown = np.cbrt(np.linalg.det(motion[:, :3, :3]))
    if not frames:
        return grown
    mounts = {c: mount_base(cameras, c) for c in {f.cameras for f in frames}}
    mount = np.stack([mounts[f.cameras] for f in frames])
    T_ref_base = np.stack([f.T_ref_base for f in frames])
    lever = np.einsum("nij,nj->ni", T_ref_base[:, :3, :3], mount) - mount
    T_ref_base[:, :3, 3] = grown[:, None] * (T_ref_base[:, :3, 3] + lever) - lever
    T_world_base = carried(motion, np.stack([f.T_world_base for f in frames]), mount)
    for f, T_world, T_ref in zip(frames, T_world_base, T_ref_base, strict=True):
        f.T_world_base, f.T_ref_base = T_world, T_ref
    return grown


def mount_base(cameras: Sequence[Camera], which: Sequence[int]) -> FloatArray:
    """Return the middle of some of the cameras in base_link (3,); its origin for none."""
    if not which:
        return np.zeros(3)
    return np.asarray(np.mean([cameras[c].T_base_cam[:3, 3] for c in which], axis=0))


def carried(S: FloatArray, T: FloatArray, mount_base: FloatArray) -> FloatArray:
    """Return rigid poses (..., 4, 4) whose points `mount_base` lie where S takes those of T."""
    scale = np.cbrt(np.linalg.det(S[..., :3, :3]))[..., None]
    out = S @ T
    out[..., :3, :3] /= scale[..., None]
    away = (scale - 1.0) * np.einsum("...ij,...j->...i", out[..., :3, :3], mount_base)
    out[..., :3, 3] += np.where(np.abs(scale - 1.0) < 1e-9, 0.0, away)
    return out


def strain(
    f: MapFrame, before: tuple[FloatArray, FloatArray], now: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """Return a frame's share (4, 4) in how the way from its keyframe to the next changed.

    Args:
        f: Its place in its keyframe says how large the share is.
        before: (4, 4) poses of these two keyframes in the world, before they were moved.
        now: Their poses since.
    """
    told = transforms.invert(before[0]) @ before[1]
    change = transforms.invert(told) @ transforms.invert(now[0]) @ now[1]
    length = float(np.linalg.norm(told[:3, 3]))
    way = float(np.linalg.norm(f.T_ref_base[:3, 3]))
    return transforms.interpolate(np.eye(4), change, min(way / max(length, 1e-6), 1.0))
