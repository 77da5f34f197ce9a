"""A street of facades made of arrays: landmarks, fallible masks and clusters without pictures."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from seg2d3d_ros.geometry import cameras, masks, transforms
from seg2d3d_ros.types import (
    Camera,
    Cluster,
    Keyframe,
    Landmarks,
    Mask,
    Observations,
    RelativePose,
    Rig,
    Segmentation,
)

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
WIDTH_PX, HEIGHT_PX, FOCAL_PX = 320, 192, 170.0
HALF_STREET_M, HOUSE_M, HEIGHT_M = 9.0, 10.0, 7.0
BUILDING = 11
# name, y and yaw of each camera
TURNED = (("left", 0.3, 40.0), ("right", -0.3, -40.0))
STEREO = (("left", 0.3, 0.0), ("right", -0.3, 0.0))
SINGLE = STEREO[:1]


def make_camera(name, y=0.0, yaw_deg=0.0):
    """A level camera 1.6 m above ground, 87 degrees wide, turned to the left by `yaw_deg`."""
    K = np.array(
        [
            [FOCAL_PX, 0, (WIDTH_PX - 1) / 2],
            [0, FOCAL_PX, (HEIGHT_PX - 1) / 2],
            [0, 0, 1],
        ]
    )
    turn = transforms.exp([0, 0, np.deg2rad(yaw_deg), 0, 0, 0])[:3, :3]
    T = transforms.rigid(turn @ transforms.R_BODY_OPTICAL, [0.4, y, 1.6])
    return Camera(name, WIDTH_PX, HEIGHT_PX, K, T)


@dataclass(frozen=True)
class MaskErrors:
    """How often a mask is missing, cut in two, or joined with that of the next house."""

    missed: float = 0.0
    split: float = 0.0
    merged: float = 0.0


@dataclass(frozen=True, repr=False)
class Street:
    """Truth. House k stands left of the road for k < n/2, houses are numbered from 1.

    Attributes:
        rig: The cameras.
        T_world_base: (f, 4, 4), half a metre apart; every second one is a keyframe.
        points: (n, 3) landmarks on facades.
        house: (n,) whose.
        facades: Outline of each facade by house, (4, 3).
    """

    rig: Rig
    T_world_base: np.ndarray
    points: np.ndarray
    house: np.ndarray
    facades: dict

    def __repr__(self):
        return f"Street({len(self.facades)} houses)"

    @property
    def stamps_ns(self):
        return START_NS + PERIOD_NS * np.arange(len(self.T_world_base))


def make_street(houses_per_side=3, cameras=TURNED, num_points=60, seed=0, turn_rad=0.0):
    """Facades side by side on both sides of a road along x, and a drive past them."""
    rng = np.random.default_rng(seed)
    facades, points, house = {}, [], []
    for side in (1.0, -1.0):
        for k in range(houses_per_side):
            number = len(facades) + 1
            # neighbours stand a little before or behind each other, wall to wall
            y = side * (HALF_STREET_M + 0.6 * (k % 2))
            x0, x1 = 6.0 + k * HOUSE_M, 6.0 + (k + 1) * HOUSE_M
            corners = [(x0, y, 0.0), (x1, y, 0.0), (x1, y, HEIGHT_M), (x0, y, HEIGHT_M)]
            facades[number] = np.array(corners)
            low, high = (x0 + 0.3, y - 0.05, 0.5), (x1 - 0.3, y + 0.05, HEIGHT_M - 0.5)
            points.append(rng.uniform(low, high, (num_points, 3)))
            house.append(np.full(num_points, number))
    step = transforms.exp([0, 0, turn_rad, 0.5, 0, 0])
    poses = [np.eye(4)]
    for _ in range(2 * int(houses_per_side * HOUSE_M) - 1):
        poses.append(poses[-1] @ step)
    rig = Rig(tuple(make_camera(*c) for c in cameras), has_odometry=True)
    return Street(rig, np.stack(poses), np.concatenate(points), np.concatenate(house), facades)


def outline(street, camera, T_world_base, corners):
    """The mask (h, w) of a facade, empty where it is not seen."""
    share = np.linspace(0.0, 1.0, 41)[:, None]
    edges = [corners[a] + share * (corners[b] - corners[a]) for a, b in ((0, 1), (3, 2))]
    p = transforms.apply(
        transforms.invert(T_world_base @ camera.T_base_cam), np.concatenate(edges)
    )
    p = p[p[:, 2] > 0.3]
    picture = np.zeros((camera.height_px, camera.width_px), dtype=np.uint8)
    if len(p) >= 3:
        uv = p[:, :2] / p[:, 2:] * camera.K[[0, 1], [0, 1]] + camera.K[:2, 2]
        cv2.fillConvexPoly(picture, cv2.convexHull(np.round(uv).astype(np.int32)), 1)
    return picture.astype(bool)


def _regions(street, camera, T, errors, rng):
    """Masks of a picture with the houses they show: [(picture, houses)]."""
    seen = {h: outline(street, camera, T, f) for h, f in street.facades.items()}
    out, joined = [], set()
    for h, picture in seen.items():
        if h in joined:
            continue
        fate = rng.random(3)
        houses = (h,)
        is_beside = h + 1 in seen and street.facades[h][0, 1] * street.facades[h + 1][0, 1] > 0
        if fate[0] < errors.merged and is_beside:
            picture, houses = picture | seen[h + 1], (h, h + 1)
            joined.add(h + 1)
        parts = [picture]
        if fate[1] < errors.split:
            middle = int(np.nonzero(picture)[1].mean()) if picture.any() else 0
            left = np.arange(picture.shape[1]) < middle
            parts = [picture & left, picture & ~left]
        if fate[2] >= errors.missed:
            out += [(p, houses) for p in parts if p.sum() >= 64]
    return out


@dataclass(frozen=True, repr=False)
class Drive:
    """Clusters of a drive, and the houses (a tuple) under each mask by (stamp, camera, label)."""

    street: Street
    clusters: tuple
    houses: dict

    def __repr__(self):
        return f"Drive({len(self.clusters)} clusters, {len(self.houses)} masks)"


def segment(street, errors=MaskErrors(), seed=0, frames=None):
    """Masks of all pictures in order, and the houses under each."""
    rng = np.random.default_rng(seed)
    out, houses = [], {}
    for k in range(len(street.T_world_base)) if frames is None else frames:
        for camera in street.rig.cameras:
            stamp = int(street.stamps_ns[k])
            found = _regions(street, camera, street.T_world_base[k], errors, rng)
            order = rng.permutation(len(found))
            made = []
            for n, row in enumerate(order):
                picture, under = found[row]
                label = BUILDING * 1000 + n + 1
                made.append(Mask(label, BUILDING, 0.9, *masks.encode(picture)))
                houses[stamp, camera.name, label] = under
            shape = (camera.width_px, camera.height_px)
            out.append(Segmentation(camera.name, stamp, *shape, tuple(made)))
    return out, houses


def observe(street, noise_px=0.0, seed=0):
    """Frame, camera, point (m,) and pixels (m, 2) of all that is visible."""
    rng = np.random.default_rng(seed)
    rows = []
    for f, T in enumerate(street.T_world_base):
        for c, camera in enumerate(street.rig.cameras):
            p = transforms.apply(transforms.invert(T @ camera.T_base_cam), street.points)
            uv, inside = cameras.project(camera, p)
            seen = np.flatnonzero(inside)
            rows.append((np.full(len(seen), f), np.full(len(seen), c), seen, uv[seen]))
    frame, camera, point, uv = (np.concatenate(r) for r in zip(*rows, strict=True))
    return frame, camera, point, uv + noise_px * rng.standard_normal(uv.shape)


@dataclass(frozen=True)
class DriveOptions:
    """How a drive is cut into clusters, and what is wrong with it.

    Attributes:
        errors: Of the masks.
        size: Frames in a cluster, `overlap` of them shared with the next one.
        noise_px: Of observations.
        odometry_scale: Metres that odometry tells per metre.
        has_odometry: Whether there is any.
        sigma_m: Uncertainty that landmarks claim.
    """

    errors: MaskErrors = MaskErrors()
    size: int = 24
    overlap: int = 8
    noise_px: float = 0.0
    odometry_scale: float = 1.0
    has_odometry: bool = True
    sigma_m: float = 0.03
    seed: int = 0


def make_drive(street, options=DriveOptions()):
    """Cut the drive into clusters whose local frame is the world."""
    segmentations, houses = segment(street, options.errors, options.seed)
    seen = observe(street, options.noise_px, options.seed)
    num, starts = len(street.T_world_base), [0]
    while starts[-1] + options.size < num:
        starts.append(starts[-1] + options.size - options.overlap)
    clusters, done = [], 0
    for k, start in enumerate(starts):
        end = min(start + options.size, num)
        c = make_cluster(street, seen, range(start, end), options)
        fresh = {int(s) for s in street.stamps_ns[done:end]}
        clusters.append(
            replace(
                c,
                sequence=k,
                is_last=end == num,
                num_overlap=sum(f.is_keyframe for f in c.frames[: max(done - start, 0)]),
                segmentations=tuple(s for s in segmentations if s.stamp_ns in fresh),
            )
        )
        done = end
    return Drive(street, tuple(clusters), houses)


def make_cluster(street, seen, frames, options=DriveOptions()):
    """The cluster of some frames, without masks."""
    first, last = frames[0], frames[-1] + 1
    frame, camera, point, uv = (a[(seen[0] >= first) & (seen[0] < last)] for a in seen)
    unique, index, count = np.unique(point, return_inverse=True, return_counts=True)
    often = count >= 2
    rows = often[index]
    ids = unique[often]
    place = np.cumsum(often) - 1
    keyframes = [k for k in frames if k % 2 == 0]
    return Cluster(
        sequence=0,
        session=0,
        is_last=True,
        scale="metric",
        num_overlap=0,
        rig=street.rig,
        frames=tuple(_keyframe(street, k) for k in frames),
        landmarks=Landmarks(
            ids,
            street.points[ids],
            np.tile(np.array([90, 80, 70], dtype=np.uint8), (len(ids), 1)),
            np.zeros((len(ids), 0), dtype=np.uint8),
            np.full(len(ids), options.sigma_m, dtype=np.float32),
        ),
        observations=Observations(
            place[index[rows]], frame[rows] - first, camera[rows], uv[rows].astype(np.float32)
        ),
        odometry=tuple(
            _increment(street, i - first, j - first, first, options.odometry_scale)
            for i, j in zip(keyframes[:-1], keyframes[1:], strict=True)
        )
        if options.has_odometry
        else (),
    )


def _keyframe(street, k):
    stamp, num = int(street.stamps_ns[k]), len(street.rig.cameras)
    return Keyframe(stamp, street.T_world_base[k], k % 2 == 0, tuple(range(num)), (stamp,) * num)


def _increment(street, i, j, first, scale):
    T = transforms.invert(street.T_world_base[first + i]) @ street.T_world_base[first + j]
    T[:3, 3] *= scale
    return RelativePose(i, j, T, np.diag([0.005**2] * 3 + [0.05**2] * 3))


def moved(cluster, T):
    """The same cluster in another local frame."""
    frames = tuple(replace(f, T_local_base=T @ f.T_local_base) for f in cluster.frames)
    points = transforms.apply(T, cluster.landmarks.points_local)
    return replace(
        cluster, frames=frames, landmarks=replace(cluster.landmarks, points_local=points)
    )


def scaled(cluster, factor):
    """The same cluster in another unit of length, the scale of which nobody knows."""
    S = np.diag([factor, factor, factor, 1.0])
    frames = []
    for f in cluster.frames:
        T = f.T_local_base.copy()
        T[:3, 3] *= factor
        frames.append(replace(f, T_local_base=T))
    rig = replace(
        cluster.rig,
        has_odometry=False,
        cameras=tuple(
            replace(c, T_base_cam=_shrunk(c.T_base_cam, factor)) for c in cluster.rig.cameras
        ),
    )
    landmarks = replace(
        cluster.landmarks,
        points_local=transforms.apply(S, cluster.landmarks.points_local),
        sigma_m=(cluster.landmarks.sigma_m * factor).astype(np.float32),
    )
    return replace(
        cluster, frames=tuple(frames), rig=rig, landmarks=landmarks, odometry=(), scale="unknown"
    )


def _shrunk(T, factor):
    out = T.copy()
    out[:3, 3] *= factor
    return out


def shuffled(cluster, rng):
    """Reorder landmarks, observations and masks and relabel the masks.

    Returns:
        The cluster, and the new label by (stamp, camera, old label).
    """
    to = rng.permutation(len(cluster.landmarks.ids))
    at = np.argsort(to)
    order = rng.permutation(len(cluster.observations.frame))
    seen = {name: v[order] for name, v in vars(cluster.observations).items()}
    seen["landmark"] = at[seen["landmark"]]
    new_label, segmentations = {}, []
    for s in cluster.segmentations:
        labels = rng.permutation([m.label for m in s.masks]).tolist()
        made = [replace(m, label=n) for m, n in zip(s.masks, labels, strict=True)]
        for m, n in zip(s.masks, labels, strict=True):
            new_label[s.stamp_ns, s.camera, m.label] = n
        segmentations.append(replace(s, masks=tuple(sorted(made, key=lambda m: m.label))))
    changed = replace(
        cluster,
        landmarks=Landmarks(**{name: v[to] for name, v in vars(cluster.landmarks).items()}),
        observations=Observations(**seen),
        segmentations=tuple(segmentations),
    )
    return changed, new_label


def assigned(update):
    """Instance by (stamp, camera, label)."""
    return {(a.stamp_ns, a.camera, a.label): a.instance for a in update.assignments}


def later(cluster, shift_ns):
    """The same cluster at other times."""
    frames = tuple(
        replace(
            f,
            stamp_ns=f.stamp_ns + shift_ns,
            picture_stamps_ns=tuple(s + shift_ns for s in f.picture_stamps_ns),
        )
        for f in cluster.frames
    )
    masks = tuple(replace(s, stamp_ns=s.stamp_ns + shift_ns) for s in cluster.segmentations)
    return replace(cluster, frames=frames, segmentations=masks)


def adjusted_rand(a, b):
    """Adjusted Rand index of two partitions of the same things (Hubert and Arabie 1985)."""
    table = np.zeros((len(set(a)), len(set(b))))
    rows, columns = np.unique(a, return_inverse=True)[1], np.unique(b, return_inverse=True)[1]
    np.add.at(table, (rows, columns), 1)
    together, pairs = (table * (table - 1) / 2).sum(), len(a) * (len(a) - 1) / 2
    of_a, of_b = ((s * (s - 1) / 2).sum() for s in (table.sum(axis=1), table.sum(axis=0)))
    expected = of_a * of_b / pairs
    most = (of_a + of_b) / 2
    return 1.0 if most == expected else float((together - expected) / (most - expected))


def agreement(a, b):
    """Adjusted Rand of two assignments of the same masks."""
    assert a.keys() == b.keys()
    return adjusted_rand([a[k] for k in sorted(a)], [b[k] for k in sorted(a)])
