import numpy as np
import pytest
from street_maker import DriveOptions, MaskErrors, make_drive, make_street

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.mapping.instances import roster as rosters
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import EventKind, InstanceState

UNREFINED = override(Config(), {"mapping.refine": False})


@pytest.fixture(scope="module")
def drive():
    errors = MaskErrors(missed=0.1, split=0.1, merged=0.1)
    return make_drive(make_street(4, num_points=40), DriveOptions(errors, size=16, overlap=6))


def members(roster):
    return {i: ids for i, ids in roster.membership._members.items() if ids}


def test_touched_landmarks_give_the_members_that_a_look_at_everything_gives(drive):
    stage = MappingStage(Config())
    for cluster in drive.clusters:
        stage.push(cluster)
        kept, places = members(stage._roster), stage._roster.membership._ids_at
        stage._roster.rebuild()
        assert members(stage._roster) == kept
        assert stage._roster.membership._ids_at == places
    assert len(kept) > 5


def test_shown_instances_are_those_that_describing_all_again_gives(drive):
    stage = MappingStage(Config())
    for cluster in drive.clusters:
        stage.push(cluster)
        kept = {i: repr(x) for i, x in stage._roster.shown.items()}
        stage._roster.rebuild()
        stage._roster.describe()
        assert {i: repr(x) for i, x in stage._roster.shown.items()} == kept


def test_push_at_the_end_of_the_street_describes_no_house_at_its_beginning(drive, monkeypatch):
    stage, described = MappingStage(Config()), []
    for cluster in drive.clusters[:-1]:
        stage.push(cluster)
    made = rosters.describe
    monkeypatch.setattr(
        rosters, "describe", lambda i, *args: described.append(i) or made(i, *args)
    )
    stage.push(drive.clusters[-1])
    first_seen = {i: x.centroid_map[0] for i, x in stage._roster.shown.items()}
    # the cluster begins 30 m down the street; houses are 10 m wide and begin at 6 m
    passed = {i for i, x in first_seen.items() if x < 16.0}
    assert len(passed) == 2
    assert described and not passed & set(described)


def test_members_are_sorted_and_empty_for_unknown_instances(drive):
    stage = MappingStage(Config())
    stage.push(drive.clusters[0])
    (first, *_) = sorted(stage._roster.shown)
    ids = stage._roster.members(first)
    assert (np.diff(ids) > 0).all()
    assert len(stage._roster.members(999)) == 0
    assert not stage._roster.is_confirmed(999)


def test_instance_seen_at_few_moments_is_tentative_until_it_is_confirmed_or_the_run_ends(drive):
    seldom = override(UNREFINED, {"mapping.min_instance_views": 30})
    stage, states, confirmed = MappingStage(seldom), {}, set()
    for cluster in drive.clusters:
        update = stage.push(cluster)
        for i in update.instances:
            states.setdefault(i.id, []).append(i.state)
        told = {e.instance for e in update.events if e.kind == EventKind.CONFIRMED}
        turned = {i.id for i in update.instances if i.state == InstanceState.CONFIRMED}
        assert told == turned - confirmed
        confirmed |= told
    changed = [s for s in states.values() if InstanceState.CONFIRMED in s]
    assert any(s[0] == InstanceState.TENTATIVE for s in changed)
    assert {s[-1] for s in states.values()} == {InstanceState.TENTATIVE, InstanceState.CONFIRMED}
    named = {a.instance for a in stage.snapshot().assignments} - {0}
    assert named == {i.id for i in stage.snapshot().instances}
    full = stage.finish()
    assert full.instances and all(i.num_views >= 30 for i in full.instances)
    assert {a.instance for a in full.assignments} <= {0, *(i.id for i in full.instances)}


def test_masks_are_named_from_half_as_far_until_the_run_ends(drive, monkeypatch):
    ranges, weigh = [], rosters.weigh_picture
    monkeypatch.setattr(
        rosters, "weigh_picture", lambda *args: ranges.append(args[-1]) or weigh(*args)
    )
    stage = MappingStage(override(Config(), {"mapping.naming_range_m": 80.0}))
    for cluster in drive.clusters[:3]:
        stage.push(cluster)
    assert set(ranges) == {40.0}
    ranges.clear()
    stage.finish()
    assert set(ranges) == {80.0}
    stage.push(drive.clusters[3])  # the run goes on
    assert ranges[-1] == 40.0
