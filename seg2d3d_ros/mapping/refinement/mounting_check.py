"""Hold the stated mounting of the cameras against what they saw over the whole drive."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping import forks
from seg2d3d_ros.mapping.refinement.mounting import (
    SIGMA_MOUNT_RAD,
    MountEvidence,
    Stretch,
    measure_mounts,
)
from seg2d3d_ros.mapping.refinement.thinning import rank_in_picture
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Camera, FloatArray, IntArray, Rig

_STRETCH_KEYFRAMES = 12
_MAX_STRETCHES = 6
_LANDMARKS_PER_PICTURE = 100
_MIN_WRONG_RAD = np.deg2rad(0.5)
_MIN_SIGMAS = 5.0
# That one of two is wrong is certain by then.
_BLAME_SIGMAS = 3.0
_MIN_SIGMA_RAD = np.deg2rad(0.02)
_MIN_STRETCHES = 4
# What is told by the prior more than by pictures is not tested.
_MOST_PRIOR = 0.4
# Of two cameras the one that is turned less than this share of the other is right.
_MOST_INNOCENT = 0.3


@dataclass(frozen=True)
class MountError:
    """A rotation between how cameras are said to sit and how they sit.

    Attributes:
        cameras: Positions in Rig.cameras of those that are turned.
        against: Cameras they are turned against, where nothing tells which of them are wrong;
            empty where odometry or the majority does.
        rotvec_base: (3,) R_base_cam(true) = R @ R_base_cam(stated), rad.
        sigma_rad: Standard deviation of its angle.
    """

    cameras: tuple[int, ...]
    against: tuple[int, ...]
    rotvec_base: FloatArray
    sigma_rad: float

    def describe(self, rig: Rig) -> str:
        """Return what is wrong as a sentence."""
        angle = float(np.linalg.norm(self.rotvec_base))
        axis = self.rotvec_base / angle
        main = int(np.argmax(np.abs(axis)))
        if abs(axis[main]) > 0.9:
            size = f"{np.rad2deg(np.sign(axis[main]) * angle):+.2f} deg about {'xyz'[main]}"
        else:
            size = f"{np.rad2deg(angle):.2f} deg about ({', '.join(f'{v:.2f}' for v in axis)})"
        size = f"{size} of base_link (sigma {np.rad2deg(self.sigma_rad):.2f} deg)"
        names = ", ".join(rig.cameras[c].name for c in self.cameras)
        if not self.against:
            return f"the stated mounting of {names} is off by {size}"
        others = ", ".join(rig.cameras[c].name for c in self.against)
        return (
            f"the stated mounting of {names} against {others} is off by {size}; "
            "nothing tells which of them is wrong"
        )


def corrected(rig: Rig, errors: tuple[MountError, ...]) -> Rig:
    """Return the rig with its cameras turned as they truly sit, as far as it is known."""
    cameras = list(rig.cameras)
    for e in errors:
        share = 0.5 if e.against else 1.0
        for c in e.cameras:
            cameras[c] = _turned(cameras[c], share * e.rotvec_base)
        for c in e.against:
            cameras[c] = _turned(cameras[c], -share * e.rotvec_base)
    return replace(rig, cameras=tuple(cameras))


def as_refined(
    errors: tuple[MountError, ...], stated: Rig, refined: Rig
) -> tuple[MountError, ...]:
    """Return the errors as large as the refinement of the cameras found them to be."""
    R_stated, R_refined = (
        np.stack([c.T_base_cam[:3, :3] for c in rig.cameras]) for rig in (stated, refined)
    )
    turn = Rotation.from_matrix(R_refined @ np.swapaxes(R_stated, 1, 2)).as_rotvec()
    out = []
    for e in errors:
        rotvec = turn[list(e.cameras)].mean(axis=0)
        out.append(replace(e, rotvec_base=rotvec - turn[list(e.against)].sum(axis=0)))
    return tuple(out)


def find_mount_errors(state: MapState) -> tuple[MountError, ...]:
    """Compare the rotation of each camera with what several stretches of the drive say of it.

    Cameras are held against each other; which of two is wrong, and whether all are turned
    together about the vertical, is told by the direction that odometry moves in. An error is at
    least half a degree and five sigma, and a sigma is what the scatter between stretches makes
    it, not the noise of pixels.
    """
    if state.rig is None:
        return ()
    if has_odometry(state):
        return _find(state, is_own=False)
    if len(state.cameras) < 2:
        return ()
    # A turn about the direction of travel is told by what both see, which then is a little off.
    return _find(state, is_own=True) or _find(state, is_own=False)


def has_odometry(state: MapState) -> bool:
    """Return whether odometry tells metres and direction; ties by velocity tell neither."""
    return state.rig is not None and state.rig.has_odometry and bool(state.odometry)


def _find(state: MapState, is_own: bool) -> tuple[MountError, ...]:
    """Find errors; with `is_own` each landmark is told by the camera that saw it first alone."""
    found = forks.in_order(measure_mounts, _stretches(state, is_own))
    evidence = _Evidence.of([e for e in found if e is not None])
    if evidence is None:
        return ()
    suspects, errors = list(range(len(state.cameras))), []
    while len(suspects) > 1:
        worst = evidence.worst_of(suspects)
        if worst is None:
            break
        if len(suspects) == 2:
            errors.append(evidence.blame(worst, has_odometry(state)))
            break
        errors.append(worst)
        suspects.remove(worst.cameras[0])
    if not errors and has_odometry(state):
        together = evidence.together(suspects)
        errors += [together] if together is not None else []
    return tuple(errors)


def way_by_matches(state: MapState) -> float:
    """Return the way of matches across cameras per way of the map, these as they sit; 1 if none.

    What was matched while they were taken to sit otherwise made the map larger or smaller.
    """
    found = forks.in_order(measure_mounts, _stretches(state, is_own=False))
    ways = [e.way for e in found if e is not None]
    return float(np.median(ways)) if ways else 1.0


@dataclass(frozen=True)
class _Evidence:
    """Rotations of all cameras by stretch (n, 3c), their mean (3c,) and covariance (3c, 3c)."""

    samples: FloatArray
    mean: FloatArray
    covariance: FloatArray

    @classmethod
    def of(cls, evidence: list[MountEvidence]) -> _Evidence | None:
        if not evidence:
            return None
        A = np.sum([e.information for e in evidence], axis=0)
        b = np.sum([e.information @ e.rotvec_base.ravel() for e in evidence], axis=0)
        covariance = np.linalg.inv(A + np.eye(len(b)) / SIGMA_MOUNT_RAD**2)
        samples = np.stack([e.rotvec_base.ravel() for e in evidence])
        return cls(samples, covariance @ b, covariance)

    def worst_of(self, suspects: list[int]) -> MountError | None:
        """Return the camera that is most certainly turned against the others, if any is."""
        found = []
        for c in suspects:
            select = self._select([c])
            others = [o for o in suspects if o != c]
            rotvec, sigmas, sigma = self._test(select - self._select(others))
            if sigmas >= _MIN_SIGMAS and np.linalg.norm(rotvec) >= _MIN_WRONG_RAD:
                error = MountError((c,), tuple(others) if len(others) == 1 else (), rotvec, sigma)
                found.append((float(np.linalg.norm(rotvec)), -c, error))
        return max(found, key=lambda f: f[:2])[2] if found else None

    def blame(self, e: MountError, has_odometry: bool) -> MountError:
        """Say which of two cameras is wrong, where the direction of travel tells it.

        Dead reckoning tells a direction in the plane, so only turns about the vertical.
        """
        is_upright = abs(e.rotvec_base[2]) > 0.9 * np.linalg.norm(e.rotvec_base)
        if not has_odometry or not is_upright:
            return e
        (a,), (b,) = e.cameras, e.against
        (yaw_a, sigmas_a, _), (yaw_b, sigmas_b, _) = (
            self._test(self._select([c])[2:]) for c in (a, b)
        )
        if sigmas_a >= _BLAME_SIGMAS and abs(yaw_b[0]) < _MOST_INNOCENT * abs(yaw_a[0]):
            return replace(e, against=())
        if sigmas_b >= _BLAME_SIGMAS and abs(yaw_a[0]) < _MOST_INNOCENT * abs(yaw_b[0]):
            return MountError((b,), (), -e.rotvec_base, e.sigma_rad)
        return e

    def together(self, suspects: list[int]) -> MountError | None:
        """Return a turn of all cameras about the vertical: odometry knows nothing of the rest."""
        select = self._select(suspects)[2:]
        rotvec, sigmas, sigma = self._test(select)
        if sigmas < _MIN_SIGMAS or abs(rotvec[0]) < _MIN_WRONG_RAD:
            return None
        return MountError(tuple(suspects), (), np.array([0.0, 0.0, rotvec[0]]), sigma)

    def _select(self, cameras: list[int]) -> FloatArray:
        """Return the (3, 3c) matrix that takes the mean of some cameras."""
        out = np.zeros((3, len(self.mean)))
        for c in cameras:
            out[:, 3 * c : 3 * c + 3] = np.eye(3) / len(cameras)
        return out

    def _known(self, select: FloatArray) -> FloatArray:
        """Return a combination of the rotations; what is less than its formal sigma is left out.

        A turn about the direction of travel is told ten times worse than others, and its noise
        would hide them.
        """
        covariance = select @ self.covariance @ select.T
        variance, axes = np.linalg.eigh(covariance)
        along = axes.T @ (select @ self.mean)
        return np.asarray(axes @ np.where(along**2 > variance, along, 0.0))

    def _test(self, select: FloatArray) -> tuple[FloatArray, float, float]:
        """Return a combination of the rotations, how many sigma it is, and sigma of its length."""
        rotvec = self._known(select)
        size = float(np.linalg.norm(rotvec))
        if size == 0.0:
            return rotvec, 0.0, np.inf
        axis = rotvec / size
        along = axis @ select
        formal = float(np.sqrt(along @ self.covariance @ along))
        if formal > _MOST_PRIOR * SIGMA_MOUNT_RAD * float(np.linalg.norm(along)):
            return rotvec, 0.0, formal
        sigma = formal
        if len(self.samples) >= _MIN_STRETCHES:
            spread = float(np.std(self.samples @ along, ddof=1)) / np.sqrt(len(self.samples))
            sigma = max(1.5 * spread, _MIN_SIGMA_RAD)
        return rotvec, size / sigma, sigma


def _stretches(state: MapState, is_own: bool) -> list[Stretch]:
    """Return some stretches of keyframes, spread evenly over the drive."""
    keyframes = state.keyframes
    starts = list(range(0, len(keyframes) - _STRETCH_KEYFRAMES + 1, _STRETCH_KEYFRAMES))
    if len(starts) > _MAX_STRETCHES:
        chosen = np.linspace(0, len(starts) - 1, _MAX_STRETCHES).round().astype(int)
        starts = [starts[k] for k in chosen]
    return [_stretch(state, keyframes[s : s + _STRETCH_KEYFRAMES], is_own) for s in starts]


def _stretch(state: MapState, keyframes: list[int], is_own: bool) -> Stretch:
    frame, camera, ids, xy = [], [], [], []
    for k, index in enumerate(keyframes):
        f = state.frames[index]
        known = np.isfinite(state.points(f.ids)[:, 0])
        for c, model in enumerate(state.cameras):
            rows = np.flatnonzero(known & (f.camera == c))
            frame.append(np.full(len(rows), k))
            camera.append(np.full(len(rows), c))
            ids.append(f.ids[rows])
            xy.append(models.normalize(model, f.uv_px[rows].astype(np.float64)))
    position = {index: k for k, index in enumerate(keyframes)}
    columns = [np.concatenate(a) for a in (frame, camera, ids)]
    keep = _thinned(*columns)
    if is_own:
        keep &= _is_own(columns[1], columns[2])
    unique, point = np.unique(columns[2][keep], return_inverse=True)
    return Stretch(
        cameras=state.cameras,
        T_world_base=np.stack([state.frames[k].T_world_base for k in keyframes]),
        points_world=state.points(unique),
        frame=columns[0][keep],
        camera=columns[1][keep],
        point=point,
        xy=np.concatenate(xy)[keep],
        odometry=tuple(
            replace(r, frame_i=position[i], frame_j=position[j])
            for (i, j), r in sorted(state.odometry.items())
            if i in position and j in position
        ),
    )


def _thinned(frame: IntArray, camera: IntArray, ids: IntArray) -> np.ndarray:
    """Return which observations (n,) belong to the landmarks seen most often in each picture."""
    _, index, count = np.unique(ids, return_inverse=True, return_counts=True)
    rank = rank_in_picture(frame, camera, -count[index], ids)
    return np.isin(ids, ids[rank < _LANDMARKS_PER_PICTURE]) & (count[index] >= 2)


def _is_own(camera: IntArray, ids: IntArray) -> np.ndarray:
    """Return which observations (n,) are those of the first camera that saw their landmark.

    Without odometry matches between cameras are found, and kept, on the strength of the mounting
    that is in question; with it, cameras that do not sit as stated are turned before they match.
    """
    first = np.full(int(ids.max(initial=-1)) + 1, 64)
    np.minimum.at(first, ids, camera)
    return np.asarray(camera == first[ids])


def _turned(camera: Camera, rotvec_base: FloatArray) -> Camera:
    R = Rotation.from_rotvec(rotvec_base).as_matrix()
    T = transforms.rigid(R @ camera.T_base_cam[:3, :3], camera.T_base_cam[:3, 3])
    return replace(camera, T_base_cam=T)
