"""A simulated drive from options to a bag and its truth."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation import picture, route, sensors
from seg2d3d_ros.simulation.bag import BagWriter
from seg2d3d_ros.simulation.masks import mask_owners, publish_masks
from seg2d3d_ros.simulation.options import SimulationOptions
from seg2d3d_ros.simulation.render import Renderer, Rendering, camera_rays
from seg2d3d_ros.simulation.rig import build_rig, published_rig
from seg2d3d_ros.simulation.street import build_street
from seg2d3d_ros.simulation.truth import FacadeSamples, Place, TruthWriter
from seg2d3d_ros.types import FloatArray

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
_EPOCH_NS = 1_700_000_000_123_456_789
_MOVER_GAP_M = 14.0


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        num_pictures: Pictures in the bag.
        num_dropped: Pictures that were left out of it.
        num_buildings: Buildings of the street, seen or not.
        duration_s: Length of the drive.
        path_length_m: Distance driven.
    """

    num_pictures: int
    num_dropped: int
    num_buildings: int
    duration_s: float
    path_length_m: float


@dataclass(frozen=True)
class Shot:
    """One picture to be taken: which camera, its number, when, and whether it reaches the bag."""

    camera: int
    index: int
    time_s: float
    is_lost: bool


def simulate(options: SimulationOptions, out: str | Path, progress: Progress | None = None) -> Summary:
    """Drive along a street and write `out/bag` and `out/truth`.

    Args:
        options: What to simulate.
        out: New folder.
        progress: Called with the number of pictures done and their total.

    Raises:
        InputError: the folder holds a recording already.
        ConfigError: the options contradict each other.
    """
    out = Path(out)
    if (out / "bag").exists() or (out / "truth").exists():
        raise InputError(f"{out} holds a recording already; choose another folder or remove it")
    simulation = Simulation(options)
    out.mkdir(parents=True, exist_ok=True)
    truth = TruthWriter(out / "truth", simulation.place)
    num_lost = num_done = 0
    shots = simulation.shots
    with BagWriter(out / "bag", simulation.start_ns, options) as bag:
        bag.add_static_transforms(published_rig(simulation.rig, options))
        others = simulation.other_items()
        later = next(others, None)
        for shot in shots:
            while later is not None and later[0] <= shot.time_s:
                later[1](bag)
                later = next(others, None)
            num_lost += shot.is_lost
            if not shot.is_lost:
                simulation.take(shot, bag, truth)
            bag.advance(simulation.stamp_ns(shot.time_s))
            num_done += 1
            if progress is not None:
                progress(num_done, len(shots))
        while later is not None:
            later[1](bag)
            later = next(others, None)
    truth.write(simulation.street.buildings, simulation.samples, simulation.drive.length_m, options)
    summary = Summary(
        len(shots) - num_lost, num_lost, len(simulation.street.buildings),
        simulation.drive.duration_s, simulation.drive.length_m,
    )  # fmt: skip
    logger.info("wrote %s: %s", out, summary)
    return summary


class Simulation:
    """A street, a vehicle that drives along it and its sensors."""

    def __init__(self, options: SimulationOptions) -> None:
        """Build everything but the pictures."""
        self._options = options
        line, path = route.plan(options)
        self.drive = route.Drive(path, options)
        self.street = build_street(options, line)
        self.rig = build_rig(options)
        self.start_ns = _EPOCH_NS + options.seed * 10_000 * 10**9
        self.samples = FacadeSamples(self.street.scene, self.street.building_of)
        self._renderer = Renderer(self.street.scene, self.street.movers, self.street.atlas)
        self._rays = [camera_rays(camera) for camera in self.rig.cameras]
        self.place = self._place()
        self.shots = self._plan_shots()

    def stamp_ns(self, time_s: float) -> int:
        """Return the stamp of a time of the drive."""
        return self.start_ns + round(time_s * 1e9)

    def _place(self) -> Place:
        T_street_start = self.drive.pose(0.0)
        if not self._options.gnss:
            return Place(transforms.invert(T_street_start), None)
        heading = np.random.default_rng([self._options.seed, 51]).uniform(-np.pi, np.pi)
        T = transforms.rigid(Rotation.from_euler("z", heading).as_matrix(), np.zeros(3))
        T[:3, 3] = -T[:3, :3] @ T_street_start[:3, 3]
        return Place(T, sensors.draw_origin(self._options.seed))

    def _plan_shots(self) -> list[Shot]:
        options = self._options
        rng = np.random.default_rng([options.seed, 52])
        shots = []
        for index in range(int(self.drive.duration_s * options.rate_hz)):
            for camera in range(len(self.rig.cameras)):
                time_s = index / options.rate_hz + camera * options.camera_offset_ms * 1e-3
                is_lost = bool(rng.random() < options.dropped) and index > 0
                is_off = self.rig.cameras[camera].name == f"camera_{options.stop_camera.removeprefix('camera_')}"
                if is_off and time_s > self.drive.duration_s / 2:
                    continue
                shots.append(Shot(camera, index, time_s, is_lost))
        return sorted(shots, key=lambda shot: (shot.time_s, shot.camera))

    def other_items(self) -> Iterator[tuple[float, Callable[[BagWriter], None]]]:
        """Yield times and what to add to the bag then: odometry and fixes, in order."""
        items: list[tuple[float, Callable[[BagWriter], None]]] = []
        if self._options.odometry:
            for sample in sensors.simulate_odometry(self.drive, self._options):
                items.append((sample.time_s, lambda bag, sample=sample: bag.add_odometry(sample)))  # type: ignore[misc]
        if self._options.gnss and self.place.origin is not None:
            fixes = sensors.simulate_fixes(self.drive, self.place.T_map_street, self.place.origin, self._options)
            for fix in fixes:
                items.append((fix.time_s, lambda bag, fix=fix: bag.add_fix(fix)))  # type: ignore[misc]
        yield from sorted(items, key=lambda item: item[0])

    def take(self, shot: Shot, bag: BagWriter, truth: TruthWriter) -> None:
        """Render a picture with its masks and add it to the bag and the truth."""
        options, camera = self._options, self.rig.cameras[shot.camera]
        rng = np.random.default_rng([options.seed, 53, shot.camera, shot.index])
        stamp_ns = self.stamp_ns(shot.time_s)
        true = self.render(shot.camera, shot.time_s)
        image = picture.expose(rng, lambda t: self._clean(shot, t, true), shot.time_s, options)
        bag.add_picture(camera, stamp_ns, image)
        building = self.street.building_of[true.object_id]
        T_street_base = self.drive.pose(shot.time_s)
        truth.add_picture(stamp_ns, camera.name, T_street_base, building)
        self.samples.see(true, self._rays[shot.camera], T_street_base @ camera.T_base_cam)
        if options.labels and shot.index % options.label_every == 0:
            labels = publish_masks(rng, true.object_id, self.street.class_of, options)
            bag.add_labels(camera, stamp_ns, labels)
            truth.add_masks(stamp_ns, camera.name, mask_owners(labels, building))

    def _clean(self, shot: Shot, time_s: float, true: Rendering) -> NDArray[np.float32]:
        return true.image if time_s == shot.time_s else self.render(shot.camera, time_s).image

    def render(self, camera: int, time_s: float) -> Rendering:
        """Render what a camera sees at a time, without noise."""
        T = self.drive.pose(time_s) @ self.rig.cameras[camera].T_base_cam
        return self._renderer.render(self.rig.cameras[camera], self._rays[camera], T, self._movers(time_s))

    def _movers(self, time_s: float) -> list[FloatArray]:
        """Return where the moving cars are: the first keeps ahead, the others come towards on the other lane."""
        poses = []
        turn = np.diag([-1.0, -1.0, 1.0, 1.0])
        for k in range(len(self.street.movers)):
            if k == 0:
                place = self.drive.distance_m(time_s) + _MOVER_GAP_M + 3.0 * np.sin(0.3 * time_s)
                poses.append(self._beyond(place))
                continue
            speed = self._options.speed_mps * (0.7 + 0.15 * (k % 3))
            place = self.drive.length_m * k / len(self.street.movers) + 40.0 - speed * time_s
            shift = transforms.rigid(np.eye(3), [0.0, 2 * route.LANE_M, 0.0])
            span = self.drive.length_m + 60.0
            poses.append(self._beyond(place % span) @ shift @ turn)
        return poses

    def _beyond(self, place_m: float) -> FloatArray:
        """Return the level pose at a distance, straight on after the end of the path."""
        T = self.drive.pose_at(min(place_m, self.drive.length_m), is_level=True)
        ahead = max(0.0, place_m - self.drive.length_m)
        return T @ transforms.rigid(np.eye(3), [ahead, 0.0, 0.0])
