"""A vehicle that stands for long: what the map keeps of it, and what each cluster costs."""

import pickle
import pickletools
from dataclasses import replace

import numpy as np
import pytest
from street_maker import PERIOD_NS, SINGLE, DriveOptions, later, make_drive, make_street

from seg2d3d_ros.config import Config
from seg2d3d_ros.io.folder_store import FolderStore
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import Observations

NUM_AT_REST = 100


@pytest.fixture(scope="module")
def drive():
    return make_drive(make_street(2, SINGLE, num_points=40), DriveOptions(size=16, overlap=6))


def at_rest(last, k):
    """The k-th cluster at rest after the last one that moved: its keyframes, and what is new."""
    newest = last.frames[-1]
    stamps = newest.stamp_ns + PERIOD_NS * (1 + k * NUM_AT_REST + np.arange(NUM_AT_REST))
    still = [
        replace(newest, stamp_ns=int(s), picture_stamps_ns=(int(s),), is_keyframe=False)
        for s in stamps
    ]
    seen, num = vars(last.observations), len(last.frames)
    final = seen["frame"] == num - 1
    columns = {n: [v, *[v[final]] * NUM_AT_REST] for n, v in seen.items()}
    columns["frame"][1:] = [np.full(final.sum(), num + i) for i in range(NUM_AT_REST)]
    masks = next(s for s in last.segmentations if s.stamp_ns == newest.stamp_ns)
    return replace(
        last,
        sequence=last.sequence + 1 + k,
        is_last=False,
        num_overlap=sum(f.is_keyframe for f in last.frames),
        frames=(*last.frames, *still),
        observations=Observations(**{n: np.concatenate(v) for n, v in columns.items()}),
        odometry=(),
        segmentations=tuple(replace(masks, stamp_ns=int(s)) for s in stamps),
    )


def in_session(cluster, session):
    """The same cluster an hour later, when tracking had been lost."""
    return replace(
        later(cluster, session * 3600 * 10**9),
        session=session,
        sequence=cluster.sequence + 100 * session,
        landmarks=replace(cluster.landmarks, ids=cluster.landmarks.ids + 1000 * session),
    )


@pytest.fixture
def stage(drive, tmp_path):
    made = MappingStage(Config(), FolderStore(tmp_path))
    for cluster in drive.clusters:
        made.push(cluster)
    return made


def test_standing_only_the_newest_pictures_have_a_say_in_names(drive, stage):
    weighed = []
    for k in range(4):
        stage.push(at_rest(drive.clusters[-1], k))
        weighed.append(len(stage._roster._evidence))
    # the keyframes that go on and the pictures that are new; those told before have their names
    assert set(weighed) == {len(drive.clusters[-1].frames) + NUM_AT_REST}
    full = stage.finish()
    assert len(full.trajectory.stamps_ns) == len(drive.street.stamps_ns) + 4 * NUM_AT_REST
    still = [a for a in full.assignments if a.stamp_ns > drive.street.stamps_ns[-1]]
    assert len(still) == 4 * NUM_AT_REST * len(drive.clusters[-1].segmentations[-1].masks)
    assert len({a.instance for a in still if a.instance}) == len({a.label for a in still})


def size_of(stage):
    """Return the bytes of a stage; which of its references come short is a matter of order."""
    data = pickle.dumps(stage)
    return len(data) - 3 * sum(op.name == "LONG_BINGET" for op, _, _ in pickletools.genops(data))


def test_standing_each_cluster_adds_the_same_and_little(drive, stage):
    sizes = []
    for k in range(10):
        stage.push(at_rest(drive.clusters[-1], k))
        sizes.append(size_of(stage))
    added = np.diff(sizes)[1:] / NUM_AT_REST
    # two poses of 128 bytes, their stamps, and the names of a few masks; no landmark, no vote
    assert added.max() < 1200
    assert added[-4:].mean() < 1.1 * added[:4].mean()


def test_standing_again_and_again_in_new_sessions_adds_the_same(drive, stage):
    sizes = []
    for session in range(1, 9):
        last = in_session(drive.clusters[-1], session)
        stage.push(last)
        stage.push(at_rest(last, 0))
        sizes.append(len(pickle.dumps(stage)))
    added = np.diff(sizes)[1:]
    assert added[-3:].mean() < 1.15 * added[:3].mean()
