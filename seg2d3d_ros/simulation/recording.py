"""A simulated drive from options to a bag and its truth."""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from seg2d3d_ros.simulation import picture, sensors
from seg2d3d_ros.simulation.bag import BagWriter
from seg2d3d_ros.simulation.masks import mask_owners, publish_masks
from seg2d3d_ros.simulation.options import SimulationOptions
from seg2d3d_ros.simulation.recording_folder import new_recording
from seg2d3d_ros.simulation.rig import published_rig
from seg2d3d_ros.simulation.samples import FacadeSamples
from seg2d3d_ros.simulation.truth import TruthWriter, describe
from seg2d3d_ros.simulation.world import Shot, World

_LOG = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        num_pictures: Pictures in the bag.
        num_dropped: Pictures that were left out of it.
        num_buildings: Buildings that were well seen, as in `truth.json`.
        duration_s: Length of the drive.
        path_length_m: Distance driven.
    """

    num_pictures: int
    num_dropped: int
    num_buildings: int
    duration_s: float
    path_length_m: float


def simulate(
    options: SimulationOptions, out: str | Path, progress: Progress | None = None
) -> Summary:
    """Drive along a street and write `out/bag` and `out/truth`.

    Args:
        options: What to simulate.
        out: Folder of the recording; made if need be.
        progress: Called with the number of pictures done and their total.

    Raises:
        InputError: the folder holds a recording already.
        ConfigError: the options contradict each other.
    """
    out = Path(out)
    with new_recording(out) as folder:
        world = World(options)
        shots = world.shots()
        num_buildings = _record(world, shots, options, folder, progress)
    num_lost = sum(shot.is_lost for shot in shots)
    summary = Summary(
        num_pictures=len(shots) - num_lost,
        num_dropped=num_lost,
        num_buildings=num_buildings,
        duration_s=world.drive.duration_s,
        path_length_m=world.drive.length_m,
    )
    _LOG.info("wrote %s: %s", out, summary)
    return summary


def _record(
    world: World,
    shots: list[Shot],
    options: SimulationOptions,
    folder: Path,
    progress: Progress | None,
) -> int:
    """Write bag and truth into a folder; the number of buildings that were well seen."""
    truth = TruthWriter(folder / "truth", world.place)
    samples = FacadeSamples(world.street.scene, world.street.building_of)
    with BagWriter(folder / "bag", world.start_ns, options) as bag:
        bag.add_static_transforms(published_rig(world.rig, options))
        recorder = _Recorder(world, options, bag, truth, samples)
        for done, shot in enumerate(shots, start=1):
            recorder.advance(shot.time_s)
            if not shot.is_lost:
                recorder.take(shot)
            if progress is not None:
                progress(done, len(shots))
        recorder.advance(world.drive.duration_s)
    buildings = [describe(b, world.place) for b in world.street.buildings]
    return truth.write(
        buildings, samples.points(), world.drive.length_m, dataclasses.asdict(options)
    )


@dataclass
class _Recorder:
    """Takes what the sensors of a world deliver, in the order of stamps, into bag and truth."""

    world: World
    options: SimulationOptions
    bag: BagWriter
    truth: TruthWriter
    samples: FacadeSamples

    def __post_init__(self) -> None:
        self._others = deque(self._other_items())

    def advance(self, time_s: float) -> None:
        """Record odometry and fixes up to a time, and write what is due by then."""
        while self._others and self._others[0][0] <= time_s:
            self._others.popleft()[1]()
        self.bag.advance(self.world.stamp_ns(time_s))

    def _other_items(self) -> list[tuple[float, Callable[[], None]]]:
        """Return what records odometry and fixes, by their times."""
        world, options, bag = self.world, self.options, self.bag
        items: list[tuple[float, Callable[[], None]]] = []
        if options.odometry:
            dead_reckoning = sensors.simulate_odometry(world.drive, options)
            items += [(s.time_s, partial(bag.add_odometry, s)) for s in dead_reckoning]
        if world.place.origin is not None:
            fixes = sensors.simulate_fixes(world.drive, world.place, options)
            items += [(f.time_s, partial(bag.add_fix, f)) for f in fixes]
        return sorted(items, key=lambda item: item[0])

    def take(self, shot: Shot) -> None:
        """Record a picture, its masks and their truth."""
        world, options, camera = self.world, self.options, self.world.rig.cameras[shot.camera]
        stamp_ns, T_street_base = world.stamp_ns(shot.time_s), world.drive.pose(shot.time_s)
        true = world.render(shot.camera, shot.time_s)
        is_black = picture.is_black(shot.time_s, options)
        building = world.street.building_of[true.object_id] * (not is_black)
        smear = [
            world.render(shot.camera, shot.time_s + offset).image
            for offset in picture.smear_offsets_s(options)
        ]
        rng = np.random.default_rng([53, options.seed, shot.camera, shot.index])
        image = picture.expose(rng, smear or [true.image], shot.time_s, options)
        self.bag.add_picture(camera, stamp_ns, image)
        self.truth.add_picture(stamp_ns, camera.name, T_street_base, building)
        if not is_black:
            T_street_cam = T_street_base @ camera.T_base_cam
            self.samples.see(true, world.rays[shot.camera], T_street_cam)
        if options.labels and shot.index % options.label_every == 0:
            rng = np.random.default_rng([54, options.seed, shot.camera, shot.index])
            labels = publish_masks(rng, true.object_id, world.street.class_of, options)
            labels *= not is_black
            self.bag.add_labels(camera, stamp_ns, labels)
            self.truth.add_masks(stamp_ns, camera.name, mask_owners(labels, building))
