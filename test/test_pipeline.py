import threading
import time
from collections import Counter
from dataclasses import is_dataclass, replace

import numpy as np
import psutil
import pytest
from scipy.ndimage import gaussian_filter

from seg2d3d_ros import pipeline as module
from seg2d3d_ros.accounts import Accounts
from seg2d3d_ros.config import Config, override
from seg2d3d_ros.errors import BackendError, ResultError, StageError
from seg2d3d_ros.geometry import masks, transforms
from seg2d3d_ros.mapping import stage as mapping_stage
from seg2d3d_ros.mapping.archive import MemoryStore
from seg2d3d_ros.pipeline import Pipeline
from seg2d3d_ros.segmentation.backend import PromptlessBackend
from seg2d3d_ros.types import (
    Camera,
    Cluster,
    Dropped,
    Fix,
    Frame,
    Keyframe,
    Landmarks,
    MapUpdate,
    Mask,
    Observations,
    Odometry,
    Rig,
)

pytestmark = pytest.mark.timeout(120)

# A camera looks to the left at a wall 10 m away and drives by: pictures are crops of one texture.
WIDTH_PX, HEIGHT_PX, FOCAL_PX, WALL_M, STEP_PX = 240, 160, 150.0, 10.0, 6
HOUSE_PX = 90
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 100_000_000
NUM_PICTURES = 48
CONFIG = override(
    Config(),
    {
        "runtime.num_threads": 1,
        "clusters.max_features": 120,
        "clusters.keyframe_distance_m": 0.8,
        "clusters.cluster_keyframes": 8,
        "clusters.overlap_keyframes": 3,
        "clusters.window_keyframes": 4,
    },
)


def make_camera(name="side"):
    K = np.array([[FOCAL_PX, 0, WIDTH_PX / 2], [0, FOCAL_PX, HEIGHT_PX / 2], [0, 0, 1]])
    turn = transforms.exp([0, 0, np.pi / 2, 0, 0, 0])[:3, :3]
    T = transforms.rigid(turn @ transforms.R_BODY_OPTICAL, [0.0, 0.0, 1.6])
    return Camera(name, WIDTH_PX, HEIGHT_PX, K, T)


RIG = Rig((make_camera(),), has_odometry=True)


class HousesBackend(PromptlessBackend):
    """Finds houses of equal width along the wall; fails at picture `fails_at`."""

    name = "houses"
    classes = {11: "building"}

    def __init__(self, fails_at=-1):
        super().__init__()
        self.fails_at, self.num_seen, self.is_closed = fails_at, 0, False

    def segment(self, frames):
        return [self._masks(f) for f in frames]

    def _masks(self, frame):
        if self.num_seen == self.fails_at:
            raise BackendError("the model fell over")
        self.num_seen += 1
        first = (frame.stamp_ns - START_NS) // PERIOD_NS * STEP_PX
        house = (first + np.arange(WIDTH_PX)) // HOUSE_PX
        out = []
        for k, number in enumerate(np.unique(house)):
            picture = np.broadcast_to(house == number, (HEIGHT_PX, WIDTH_PX))
            if picture.sum() > 20 * HEIGHT_PX:
                out.append(Mask(11001 + k, 11, 0.9, *masks.encode(picture)))
        return out

    def close(self):
        self.is_closed = True


@pytest.fixture(scope="module")
def items():
    """Pictures and odometry in stamp order, with a picture that could not be read."""
    rng = np.random.default_rng(0)
    width = WIDTH_PX + STEP_PX * NUM_PICTURES
    texture = sum(gaussian_filter(rng.normal(0, 1, (HEIGHT_PX, width)), s) * s for s in (1.2, 3.0))
    texture = np.clip(128 + 90 * texture, 0, 255).astype(np.uint8)
    out = []
    for k in range(NUM_PICTURES):
        stamp, left = START_NS + k * PERIOD_NS, k * STEP_PX
        T = transforms.rigid(np.eye(3), [left * WALL_M / FOCAL_PX, 0.0, 0.0])
        out += [
            Odometry(stamp, T),
            Frame("side", stamp, np.ascontiguousarray(texture[:, left : left + WIDTH_PX])),
        ]
        if k == 20:
            out.append(Dropped("side", stamp + 1, "decode_error"))
    return out


def workers():
    """The threads of all pipelines."""
    stages = ("segmentation", "clusters", "mapping")
    return {t for t in threading.enumerate() if t.name in stages}


def run(items, config=CONFIG, **options):
    pipeline = Pipeline(config, RIG, HousesBackend(), **options)
    updates = [u for item in items for u in pipeline.push(item)]
    nothing = Fix(START_NS, np.nan, 0.0, 0.0)
    waits = 3000 if options.get("is_apart") else 200
    # until the stages have worked off what was pushed
    for _ in range(waits if any(isinstance(i, Frame) for i in items) else 0):
        time.sleep(0.01)
        updates += pipeline.push(nothing)
        if len(updates) >= 2:
            break
    full = pipeline.finish()
    return pipeline, updates, full


@pytest.fixture(scope="module")
def ran(items):
    before = workers()
    return *run(items), workers() - before


def values(x):
    """Turn nested values into something that compares bit by bit."""
    if isinstance(x, np.ndarray):
        return x.dtype.str, x.shape, x.tobytes()
    if isinstance(x, dict):
        return {k: values(v) for k, v in x.items()}
    if isinstance(x, tuple | list):
        return [values(v) for v in x]
    return {k: values(v) for k, v in vars(x).items()} if is_dataclass(x) else repr(x)


def test_pipeline_maps_the_wall(ran):
    _, _, full, _ = ran
    assert full.is_full
    np.testing.assert_array_equal(
        full.trajectory.stamps_ns, START_NS + PERIOD_NS * np.arange(NUM_PICTURES)
    )
    x = full.trajectory.T_map_base[:, 0, 3]
    np.testing.assert_allclose(x, np.arange(NUM_PICTURES) * 0.4, atol=0.1)
    # the wall is 10 m to the left: half a pixel is 3 cm, more for short tracks
    assert np.median(full.cloud.points_map[:, 1]) == pytest.approx(WALL_M, abs=0.15)
    assert len(full.instances) in (5, 6)


def test_pipeline_hands_updates_out_in_order(ran):
    _, updates, full, _ = ran
    assert len(updates) >= 2
    assert [u.sequence for u in updates] == list(range(len(updates)))
    assert not any(u.is_full for u in updates)
    assert full.sequence >= len(updates)


def test_pipeline_received_is_processed_and_dropped(ran):
    pipeline, *_ = ran
    report = pipeline.report("wall", ("a remark",))
    frames = report.frames["side"]
    assert frames.received == NUM_PICTURES + 1
    assert frames.processed == NUM_PICTURES
    assert frames.dropped == {"decode_error": 1}
    assert frames.segmentation == {"ok": NUM_PICTURES}
    assert report.recording_s == pytest.approx((NUM_PICTURES - 1) * 0.1)
    assert set(report.seconds) == {"segmentation", "clusters", "mapping", "refinement"}
    assert (report.source, report.backend) == ("wall", "houses")
    assert "a remark" in report.remarks
    assert report.counts["keyframes"] > 10


def test_pipeline_finish_ends_its_threads_and_closes_the_backend(ran):
    pipeline, *_, threads = ran
    assert threads == set()
    assert pipeline.segmentation.backend.is_closed


def test_pipeline_two_runs_are_equal_bit_by_bit(ran, items):
    pipeline, updates, full, _ = ran
    other, again, full_again = run(items)
    assert values(full_again) == values(full)
    common = min(len(updates), len(again))
    assert values(again[:common]) == values(updates[:common])
    reports = [p.report("wall") for p in (pipeline, other)]
    assert reports[0].counts == reports[1].counts
    assert reports[0].frames == reports[1].frames


@pytest.mark.parametrize("is_apart", [False, True])
def test_pipeline_hands_the_map_out_before_its_state_is_kept_elsewhere(items, is_apart):
    store, seen = MemoryStore(), []
    pipeline = Pipeline(CONFIG, RIG, HousesBackend(), blocks=store, is_apart=is_apart)
    for item in items[:60]:
        pipeline.push(item)
    full = pipeline.finish(lambda m: seen.append((id(m), "stage/state" in store.names())))
    assert seen == [(id(full), not is_apart)]
    assert "stage/state" in store.names()


@pytest.mark.parametrize("is_apart", [False, True])
def test_pipeline_without_updates_gives_the_same_map(ran, items, is_apart):
    pipeline = Pipeline(CONFIG, RIG, HousesBackend(), is_apart=is_apart)
    pipeline.makes_updates = False
    assert not any(pipeline.push(item) for item in items)
    full = pipeline.finish()
    assert values(full) == values(ran[2])
    assert pipeline.num_keyframes == full.trajectory.is_keyframe.sum() > 10


def test_pipeline_without_any_picture_gives_an_empty_full_map():
    pipeline, updates, full = run([])
    assert full.is_full
    assert len(full.trajectory.stamps_ns) == len(full.cloud.ids) == 0
    assert full.instances == full.assignments == ()
    report = pipeline.report("nothing")
    assert report.frames["side"].received == 0
    assert report.recording_s == 0.0


def test_pipeline_odometry_and_fixes_alone_give_an_empty_map(items):
    alone = [i for i in items if isinstance(i, Odometry)]
    *_, full = run([*alone, Fix(START_NS, 48.0, 11.0, 500.0)])
    assert len(full.trajectory.stamps_ns) == 0


# --------------------------------------------------------------------------------------- errors


def push_all(pipeline, items):
    """Push and finish; return all errors on the way."""
    errors = []
    for item in [*items, None]:
        try:
            pipeline.finish() if item is None else pipeline.push(item)
        except (BackendError, ZeroDivisionError) as error:
            errors.append(error)
    return errors


@pytest.mark.parametrize("fails_at", [0, 5, NUM_PICTURES - 1])
def test_pipeline_error_of_the_backend_surfaces_once(items, fails_at):
    before = workers()
    backend = HousesBackend(fails_at)
    pipeline = Pipeline(CONFIG, RIG, backend)
    errors = push_all(pipeline, items)
    assert [str(e) for e in errors] == ["the model fell over"]
    pipeline.abort()
    assert workers() == before
    assert backend.is_closed


@pytest.mark.parametrize(
    "owner, stage", [(module, "ClusterStage"), (mapping_stage, "MappingStage")]
)
@pytest.mark.parametrize("when", ["first", "last"])
def test_pipeline_error_of_a_later_stage_surfaces_once(items, monkeypatch, owner, stage, when):
    class Broken(getattr(owner, stage)):
        def push(self, item):
            is_it = when == "first" or getattr(item, "is_last", False) or item is items[-1]
            if is_it:
                raise ZeroDivisionError(stage)
            return super().push(item)

    monkeypatch.setattr(owner, stage, Broken)
    before = workers()
    pipeline = Pipeline(CONFIG, RIG, HousesBackend())
    # more items than the queues hold, so that a worker that stopped would be noticed
    errors = push_all(pipeline, items)
    assert [str(e) for e in errors] == [stage]
    pipeline.abort()
    assert workers() == before


def test_pipeline_abort_in_the_middle_ends_all_threads(items):
    before = workers()
    backend = HousesBackend()
    pipeline = Pipeline(CONFIG, RIG, backend)
    for item in items[:40]:
        pipeline.push(item)
    assert len(workers() - before) == 3
    pipeline.abort()
    assert workers() == before
    assert backend.is_closed


# ---------------------------------------------------------------- processes for mapping and depths


def children():
    """The processes that this one started and that still run."""
    return [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]


def test_pipeline_in_processes_gives_the_same_bit_by_bit(ran, items):
    pipeline, updates, full, _ = ran
    here, there = MemoryStore(), MemoryStore()
    run(items, blocks=here)
    forking = override(CONFIG, {"runtime.num_threads": 2})
    apart, updates_apart, full_apart = run(items, forking, blocks=there, is_apart=True)
    assert values(full_apart) == values(full)
    common = min(len(updates), len(updates_apart))
    assert common and values(updates_apart[:common]) == values(updates[:common])
    assert "stage/state" in there.names()
    there._groups["stage/state"], state = here._groups["stage/state"], there._groups["stage/state"]
    assert values(there._groups) == values(here._groups)
    # but for the number of threads in its configuration the state is the same, too
    assert len(state["json"]) == len(here._groups["stage/state"]["json"])
    reports = [p.report("wall") for p in (pipeline, apart)]
    assert reports[1].counts == reports[0].counts
    assert reports[1].frames == reports[0].frames
    assert reports[1].remarks == reports[0].remarks
    assert reports[1].seconds["mapping"] > 0.1
    assert reports[1].seconds["refinement"] > 0.01
    assert reports[1].peak_memory_mib > reports[0].peak_memory_mib + 50
    assert children() == []


@pytest.mark.parametrize("is_depths", [False, True])
def test_pipeline_whose_process_is_killed_says_so_once_and_ends(items, is_depths):
    before = workers()
    pipeline = Pipeline(CONFIG, RIG, HousesBackend(), is_apart=True)
    process = children()[is_depths]
    errors = []
    for k, item in enumerate([*items, None]):
        if k == 60:
            process.kill()
        try:
            pipeline.finish() if item is None else pipeline.push(item)
        except StageError as error:
            errors.append(str(error))
    assert len(errors) == 1
    assert f"process of {'the depths' if is_depths else 'the mapping stage'} was kill" in errors[0]
    pipeline.abort()
    assert workers() == before
    assert children() == []


def test_pipeline_abort_ends_its_processes(items):
    before = workers()
    pipeline = Pipeline(CONFIG, RIG, HousesBackend(), is_apart=True)
    for item in items[:40]:
        pipeline.push(item)
    pipeline.abort()
    assert workers() == before
    assert children() == []


def test_pipeline_onto_nothing_is_refused_before_the_first_picture():
    store = MemoryStore()
    with pytest.raises(ResultError, match="without its state"):
        Pipeline(CONFIG, RIG, HousesBackend(), store, is_continued=True, is_apart=True)
    assert children() == []


# ------------------------------------------------------------------------------------- accounts


def cluster(sequence, session, stamps, dropped=()):
    frames = tuple(Keyframe(s, np.eye(4), True, (0,), (s,)) for s in stamps)
    none = np.zeros(0, dtype=np.int64)
    landmarks = Landmarks(
        none,
        np.zeros((0, 3)),
        np.zeros((0, 3), dtype=np.uint8),
        np.zeros((0, 0), dtype=np.uint8),
        np.zeros(0, dtype=np.float32),
    )
    seen = Observations(none, none, none, np.zeros((0, 2), dtype=np.float32))
    return Cluster(
        sequence, session, False, "metric", 0, RIG, frames, landmarks, seen, dropped=dropped
    )


def received(accounts, stamps):
    for s in stamps:
        accounts.received(Frame("side", s, np.zeros((1, 1), dtype=np.uint8)))


def test_accounts_frames_of_two_clusters_count_once():
    accounts = Accounts(RIG)
    received(accounts, range(10))
    accounts.mapped(cluster(0, 0, range(6)))
    accounts.mapped(cluster(1, 0, range(4, 9), (Dropped("side", 9, "stamp_back"),)))
    accounts.mapped(cluster(2, 0, []))
    counts = accounts.counts({"side": Counter(ok=9)})["side"]
    assert (counts.received, counts.processed, counts.dropped) == (10, 9, {"stamp_back": 1})


def test_accounts_stamps_that_come_again_in_a_new_session_count():
    accounts = Accounts(RIG)
    received(accounts, [*range(100, 110), *range(5)])
    accounts.mapped(cluster(0, 0, range(100, 110)))
    accounts.mapped(cluster(1, 1, range(5)))
    counts = accounts.counts({})["side"]
    assert counts.received == counts.processed == 15


def test_accounts_dropped_pictures_of_unknown_cameras_are_told_too():
    accounts = Accounts(RIG)
    lost = Dropped("ghost", 3, "bad_size")
    accounts.received(lost)
    accounts.mapped(cluster(0, 0, [], (lost,)))
    counts = accounts.counts({})
    assert sorted(counts) == ["ghost", "side"]
    assert (counts["ghost"].received, counts["ghost"].dropped) == (1, {"bad_size": 1})


def test_pipeline_recording_played_twice_is_counted_twice(items):
    frames = items[:50]
    again = [replace(i, stamp_ns=i.stamp_ns - 10**12) for i in frames]
    pipeline, _, full = run([*frames, *again])
    counts = pipeline.report("twice").frames["side"]
    assert counts.received == counts.processed + sum(counts.dropped.values())
    assert counts.processed > 25
    assert isinstance(full, MapUpdate)
