"""Which masks of following pictures, or of cameras that overlap, show the same region.

A mask is laid over other pictures as the map says it should move, and compared with the masks
there. Links of more than half an overlap are hardly ever wrong, and those over several pictures
bridge the ones in which masks are split, merged or missed, so they carry a name from where it is
certain to where it is not. What so is like nothing in the pictures just before (slivers, roofs of
which no landmark tells the depth) is linked with what was left over there, by their boxes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import masks as pixel_masks
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.masks import MaskStack
from seg2d3d_ros.mapping.columns import Columns
from seg2d3d_ros.mapping.masks.mask_boxes import box_overlaps
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Camera, FloatArray, IntArray, Mask

# Pictures back. The fifth adds nothing; without the second or sixth names get worse.
_STEPS = (6, 4, 3, 2, 1)
_MAX_GAP_NS = 2_000_000_000
_NUM_SAMPLES = 40
_MIN_SAMPLES = 3
_MIN_SAMPLES_BESIDE = 20
_MIN_OVERLAP = 0.3
_MIN_OVERLAP_BESIDE = 0.5
_MIN_LANDMARKS = 5
_BOX_STEPS = 2
# Boxes know no parallax: over a quarter of a second they stay, over more a neighbour takes over.
_MAX_BOX_GAP_NS = 250_000_000
_MIN_BOX_OVERLAP = 0.4
# Boxes that overlap by half or more are right as often as masks that overlap by 0.35 or more.
_BOX_WEIGHT = 0.7
_MASKS_PER_PICTURE = 4096
_CAMERAS = 256


@dataclass(frozen=True)
class MaskLinks(Columns):
    """Pairs of masks, named by `mask_keys`, and their overlap (n,) as intersection over union."""

    a: IntArray
    b: IntArray
    overlap: FloatArray

    def between(self, keys: IntArray) -> MaskLinks:
        """Return those with both ends among some masks (n,)."""
        return self.take(np.isin(self.a, keys) & np.isin(self.b, keys))


_NONE = MaskLinks(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))


def mask_keys(frame: int, camera: int, masks: IntArray) -> IntArray:
    """Return the names (n,) of masks (n,) of a picture, unique over the map."""
    return (frame * _CAMERAS + camera) * _MASKS_PER_PICTURE + masks


@dataclass(frozen=True)
class _Regions:
    """Masks (m,) of a picture by number, and samples of them.

    The masks have boxes (m, 4). Samples have an owner (n,), by position, a pixel (n, 2), and a
    point in the camera (n, 3).
    """

    frame: int
    camera: int
    stamp_ns: int
    numbers: IntArray
    boxes_px: FloatArray
    stack: MaskStack
    owner: IntArray
    uv_px: FloatArray
    points_cam: FloatArray


class MaskLinker:
    """Links every mask with those of pictures up to six further on, and of other cameras.

    Other cameras count at the same moment only: where they overlap, as in a stereo pair.
    """

    def __init__(self, classes: frozenset[int]) -> None:
        """Start without pictures; masks of other classes are not linked."""
        self._classes = classes
        self._recent: dict[int, list[_Regions]] = {}
        self._links: dict[tuple[int, int], MaskLinks] = {}

    def add(self, state: MapState, frame: int, camera: int) -> None:
        """Link the masks of a picture with those of the pictures before it; in stamp order."""
        now = _sample(state, frame, camera, self._classes)
        beside = [r[-1] for c, r in sorted(self._recent.items()) if r and c != camera]
        recent = self._recent.setdefault(camera, [])
        near = [r for r in recent if 0 <= now.stamp_ns - r.stamp_ns <= _MAX_GAP_NS]
        linked = _link(state, [near[-k] for k in _STEPS if k <= len(near)], now)
        found = [linked, _overlapping(now)]
        newest = [r for r in near if now.stamp_ns - r.stamp_ns <= _MAX_BOX_GAP_NS][-_BOX_STEPS:]
        found += [_link_boxes(state, r, now, linked) for r in newest]
        found += [_link(state, [r], now) for r in beside if r.frame == frame]
        self._links[frame, camera] = MaskLinks.joined(found)
        if len(now.numbers):  # where not every picture has masks, the next that has some is meant
            self._recent[camera] = [*recent, now][-max(_STEPS) :]

    def among(self, pictures: Iterable[tuple[int, int]]) -> MaskLinks:
        """Return the links between the masks of pictures, given by (frame, camera)."""
        wanted = {p for p in pictures if p in self._links}
        links = MaskLinks.joined([_NONE, *(self._links[p] for p in sorted(wanted))])
        inside = np.array([_picture(key) in wanted for key in links.a.tolist()], dtype=bool)
        return links.take(inside)


def pictures_of(keys: IntArray) -> IntArray:
    """Return numbers (n,) of the pictures that masks (n,) belong to, unique over the map."""
    return keys // _MASKS_PER_PICTURE


def frames_of(keys: IntArray) -> IntArray:
    """Return the frames (n,) that masks (n,) were seen in."""
    return pictures_of(keys) // _CAMERAS


def _picture(key: int) -> tuple[int, int]:
    return divmod(key // _MASKS_PER_PICTURE, _CAMERAS)


def _sample(state: MapState, frame: int, camera: int, classes: frozenset[int]) -> _Regions:
    """Put samples of each mask into space, as deep as the landmarks seen around them."""
    f = state.frames[frame]
    masks = f.masks[camera]
    numbers = np.array([k for k, m in enumerate(masks) if m.class_id in classes], dtype=np.int64)
    boxes = np.array([masks[k].bbox_px for k in numbers.tolist()], dtype=float).reshape(-1, 4)
    stack = MaskStack([(masks[k].bbox_px, masks[k].runs) for k in numbers.tolist()])
    step = np.maximum(1, stack.areas // _NUM_SAMPLES)
    owner, pixels = stack.every_nth_pixel(step, step // 2)
    uv = pixels.astype(np.float64)
    model = state.cameras[camera]
    depth = _depth(state, frame, camera, uv)
    rays = models.rays(model, uv)
    points = rays * depth[:, None]
    return _Regions(frame, camera, f.stamp_ns, numbers, boxes, stack, owner, uv, points)


def mask_at(state: MapState, key: int) -> Mask:
    """Return the mask that a key names."""
    frame, camera = _picture(key)
    return state.frames[frame].masks[camera][key % _MASKS_PER_PICTURE]


def samples_of(state: MapState, key: int) -> tuple[FloatArray, FloatArray]:
    """Return pixels of a mask as points in the world (n, 3), and their depths (n,).

    They are as deep as the landmarks seen around them; where there are none, nothing is returned.
    """
    frame, camera = _picture(key)
    model = state.cameras[camera]
    uv = _spread(mask_at(state, key))
    depth = _depth(state, frame, camera, uv)
    rays = models.rays(model, uv)
    points = transforms.apply(state.T_world_cam(frame, camera), rays * depth[:, None])
    known = np.isfinite(depth)
    return points[known], depth[known]


def _spread(mask: Mask) -> FloatArray:
    """Return about forty pixels (n, 2) spread over a mask."""
    step = max(1, pixel_masks.area(mask.bbox_px, mask.runs) // _NUM_SAMPLES)
    return pixel_masks.every_nth_pixel(mask.bbox_px, mask.runs, step, step // 2).astype(float)


def _depth(state: MapState, frame: int, camera: int, uv_px: FloatArray) -> FloatArray:
    """Return the depth (n,) of pixels by the three nearest landmarks; NaN where there are none."""
    f = state.frames[frame]
    rows = np.flatnonzero(f.camera == camera)
    rows = rows[np.unique(f.ids[rows], return_index=True)[1]]
    points = state.points(f.ids[rows])
    known = np.isfinite(points[:, 0])
    if known.sum() < _MIN_LANDMARKS or not len(uv_px):
        return np.full(len(uv_px), np.nan)
    T_cam_world = transforms.invert(state.T_world_cam(frame, camera))
    z = transforms.apply(T_cam_world, points[known])[:, 2]
    _, near = cKDTree(f.uv_px[rows][known]).query(uv_px, k=3)
    return np.asarray(np.sort(z[near], axis=1)[:, 1])


def _link(state: MapState, others: list[_Regions], now: _Regions) -> MaskLinks:
    """Compare the masks of pictures of one camera with those of another, each laid over the other.

    All are looked up at once: most of the time goes into the calls, not into the pixels.
    """
    if not others:
        return _NONE
    is_followed = others[0].camera == now.camera
    # Cameras that look apart share a strip, and a strip of a mask may look like that of any other.
    few = _MIN_SAMPLES if is_followed else _MIN_SAMPLES_BESIDE
    poses = np.stack([state.T_world_cam(r.frame, r.camera) for r in others])
    T_now_other = transforms.invert(state.T_world_cam(now.frame, now.camera)) @ poses
    camera = state.cameras[others[0].camera]
    forth = _shares_now(others, now, T_now_other, state.cameras[now.camera], few)
    back = _shares_then(others, now, transforms.invert(T_now_other), camera, few)
    keys = np.concatenate([mask_keys(r.frame, r.camera, r.numbers) for r in others])
    least = _MIN_OVERLAP if is_followed else _MIN_OVERLAP_BESIDE
    return _links(keys, mask_keys(now.frame, now.camera, now.numbers), forth, back, least)


def _shares_now(
    others: list[_Regions], now: _Regions, T_now_other: FloatArray, camera: Camera, few: int
) -> FloatArray:
    """Return the share (m, k) of each mask of other pictures that lies in each mask of now."""
    moved = [transforms.apply(T, r.points_cam) for T, r in zip(T_now_other, others, strict=True)]
    uv, inside = models.project(camera, np.concatenate(moved))
    num = np.array([len(r.numbers) for r in others])
    before = np.cumsum(num) - num
    owner = np.concatenate([r.owner + n for r, n in zip(others, before.tolist(), strict=True)])
    return _shares(owner[inside], uv[inside], int(num.sum()), now.stack, few)


def _shares_then(
    others: list[_Regions], now: _Regions, T_other_now: FloatArray, camera: Camera, few: int
) -> FloatArray:
    """Return the share (m, k) of each mask of now (k,) that lies in each of the others (m,)."""
    R, t = T_other_now[:, :3, :3], T_other_now[:, None, :3, 3]
    moved = now.points_cam @ np.swapaxes(R, 1, 2) + t
    uv, inside = models.project(camera, moved.reshape(-1, 3))
    uv[~inside] = np.nan
    num = len(now.numbers)
    picture = np.repeat(np.arange(len(others)), len(now.owner))
    owner = (picture * num + np.tile(now.owner, len(others)))[inside]
    total = np.bincount(owner, minlength=num * len(others)).reshape(len(others), num)
    counts = []
    for r, px in zip(others, uv.reshape(len(others), len(now.owner), 2), strict=True):
        mask, sample = r.stack.hits(px)
        count = np.bincount(mask * num + now.owner[sample], minlength=len(r.numbers) * num)
        counts.append(count.reshape(len(r.numbers), num))
    of_mask = np.repeat(np.arange(len(others)), [len(c) for c in counts])
    return np.concatenate(counts) / _enough(total, few)[of_mask]


def _link_boxes(state: MapState, then: _Regions, now: _Regions, linked: MaskLinks) -> MaskLinks:
    """Link masks of two pictures that are linked with none of the other one, by their boxes."""
    linked = linked.take(pictures_of(linked.a) == then.frame * _CAMERAS + then.camera)
    a, b = (_without(r.numbers, keys) for r, keys in ((then, linked.a), (now, linked.b)))
    if not len(a) or not len(b):
        return _NONE
    T_now_then = transforms.invert(state.T_world_cam(now.frame, now.camera))
    T_now_then = T_now_then @ state.T_world_cam(then.frame, then.camera)
    overlap = box_overlaps(
        state.cameras[now.camera], then.boxes_px[a], T_now_then[:3, :3], now.boxes_px[b]
    )
    i, j = np.nonzero(overlap >= _MIN_BOX_OVERLAP)
    return MaskLinks(
        mask_keys(then.frame, then.camera, then.numbers[a[i]]),
        mask_keys(now.frame, now.camera, now.numbers[b[j]]),
        _BOX_WEIGHT * overlap[i, j],
    )


def _without(numbers: IntArray, keys: IntArray) -> IntArray:
    """Return the positions of masks (n,), by number, that are not among keys (m,)."""
    linked = {k % _MASKS_PER_PICTURE for k in keys.tolist()}
    alone = [i for i, k in enumerate(numbers.tolist()) if k not in linked]
    return np.array(alone, dtype=np.int64)


def _overlapping(now: _Regions) -> MaskLinks:
    """Compare the masks of one picture: some backends find a thing twice."""
    share = _shares(now.owner, now.uv_px, len(now.numbers), now.stack, _MIN_SAMPLES)
    keys = mask_keys(now.frame, now.camera, now.numbers)
    links = _links(keys, keys, share, share.T, _MIN_OVERLAP)
    return links.take(links.a < links.b)


def _links(
    a: IntArray, b: IntArray, forth: FloatArray, back: FloatArray, least: float
) -> MaskLinks:
    """Link masks (m,) and (k,) by the shares (m, k) of the ones in the others, and back."""
    with np.errstate(divide="ignore"):
        overlap = 1.0 / np.maximum(1.0 / forth + 1.0 / back - 1.0, 1.0)
    i, j = np.nonzero(overlap >= least)
    return MaskLinks(a[i], b[j], overlap[i, j])


def _shares(
    owner: IntArray, uv_px: FloatArray, num: int, masks: MaskStack, few: int
) -> FloatArray:
    """Return the share (num, m) of samples (n,) of each owner that lie in each of m masks."""
    total = np.bincount(owner, minlength=num)
    mask, sample = masks.hits(uv_px)
    count = np.bincount(owner[sample] * len(masks) + mask, minlength=num * len(masks))
    return count.reshape(num, len(masks)) / _enough(total, few)[:, None]


def _enough(total: IntArray, few: int) -> FloatArray:
    """Return numbers of samples, infinite where they are too few to tell a share."""
    return np.where(total < few, np.inf, total.astype(np.float64))
