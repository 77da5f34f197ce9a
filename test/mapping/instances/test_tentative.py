import pickle
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from street_maker import DriveOptions, MaskErrors, assigned, make_drive, make_street

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import EditError
from seg2d3d_ros.mapping.archive import MemoryStore
from seg2d3d_ros.mapping.association.cut import Cut
from seg2d3d_ros.mapping.instances.tentative import Hosts, _Region
from seg2d3d_ros.mapping.masks.mask_links import mask_keys
from seg2d3d_ros.mapping.naming.agreement import Name
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import EventKind, InstanceState

BLANK = 2
CONFIG = Config()


def blank_street():
    """A street whose second house has not a single landmark."""
    street = make_street(3)
    keep = street.house != BLANK
    return replace(street, points=street.points[keep], house=street.house[keep])


def map_all(drive, config=CONFIG):
    stage = MappingStage(config, MemoryStore())
    for cluster in drive.clusters:
        stage.push(cluster)
    return stage


@pytest.fixture(scope="module")
def drive():
    return make_drive(blank_street(), DriveOptions(MaskErrors(missed=0.05)))


@pytest.fixture(scope="module")
def stage(drive):
    stage = map_all(drive)
    stage.finish()
    return stage


def content(update):
    """What an update says of the map, but for the log of events and what it took away."""
    return {
        name: repr(value) if name == "instances" else pickle.dumps(value)
        for name, value in vars(update).items()
        if name not in ("events", "counts", "removed_instances")
    }


def kept(stage):
    """The stage as it is read back from its store."""
    stage.keep()
    return MappingStage.restore(stage._state.archive.store)


def names_of(drive, update, house):
    """How often each name was given to masks that show one house alone."""
    named = assigned(update)
    return Counter(
        named[k] for k, shown in drive.houses.items() if shown == (house,) and k in named
    )


def test_finish_masks_without_a_landmark_become_a_tentative_instance(drive, stage):
    update = stage.finish()
    (instance, num), *_ = names_of(drive, update, BLANK).most_common()
    assert num >= 0.9 * names_of(drive, update, BLANK).total()
    (found,) = [i for i in update.instances if i.id == instance]
    assert found.state == InstanceState.TENTATIVE
    assert found.num_points == 0
    assert found.num_views == num
    states = Counter(i.state for i in update.instances)
    assert states == {InstanceState.TENTATIVE: 1, InstanceState.CONFIRMED: 5}
    # Its own pixels lie at the depth of its neighbours' landmarks: roughly where it stands.
    corners = drive.street.facades[BLANK]
    assert np.abs(found.centroid_map[:2] - corners[:, :2].mean(axis=0)).max() < 4.0
    others = [i.score for i in update.instances if i.id != instance]
    assert 0.0 < found.score < min(others)


def test_finish_tentative_instance_is_an_event_with_its_masks(drive, stage):
    update = stage.finish()
    (instance, _), *_ = names_of(drive, update, BLANK).most_common()
    told = [e for e in update.events if instance in (e.instance, e.other)]
    assert [e.kind for e in told] == [EventKind.CREATED]
    assert told[0].evidence["masks"] >= CONFIG.mapping.min_tentative_views


def test_finish_fewer_frames_than_asked_for_are_no_instance(drive):
    config = replace(CONFIG, mapping=replace(CONFIG.mapping, min_tentative_views=500))
    update = map_all(drive, config).finish()
    assert all(i.state == InstanceState.CONFIRMED for i in update.instances)
    assert set(names_of(drive, update, BLANK)) == {0}


def test_tentative_instance_keeps_its_id_when_everything_is_decided_again(drive, stage):
    again = kept(stage)
    before = {i.id for i in stage.finish().instances}
    again._full = None
    update = again.finish()
    assert {i.id for i in update.instances} == before
    assert assigned(update) == assigned(stage.finish())


def test_tentative_instance_that_landmarks_explain_later_is_gone(drive):
    # The first run sees a blank house, the second one the landmarks on it.
    stage = map_all(drive)
    first = stage.finish()
    (instance, _), *_ = names_of(drive, first, BLANK).most_common()
    later = make_drive(make_street(3))
    stage = kept(stage)
    for cluster in later.clusters:
        stage.push(cluster)
    update = stage.finish()
    assert instance not in {i.id for i in update.instances}
    assert (EventKind.GONE, instance) in {(e.kind, e.instance) for e in update.events}
    assert len(update.instances) == 6


def test_tentative_instance_seen_again_by_another_run_stays_one(drive):
    stage = map_all(drive)
    first = stage.finish()
    (instance, num), *_ = names_of(drive, first, BLANK).most_common()
    stage = kept(stage)
    for cluster in drive.clusters:
        stage.push(cluster)
    tentative = [i for i in stage.finish().instances if i.state == InstanceState.TENTATIVE]
    assert [i.id for i in tentative] == [instance]
    assert tentative[0].num_views >= 1.9 * num


def tentative_and_neighbour(drive, stage):
    """The id of the house without landmarks, and that of the one beside it."""
    update = stage.finish()
    (instance, _), *_ = names_of(drive, update, BLANK).most_common()
    (other, _), *_ = names_of(drive, update, BLANK + 1).most_common()
    return instance, other


def late_masks(update, instance):
    """The younger half of the masks of an instance."""
    own = sorted(m for m, i in assigned(update).items() if i == instance)
    return tuple(own[len(own) // 2 :])


def test_split_of_a_tentative_instance_takes_its_masks_and_no_others(drive, stage):
    instance, other = tentative_and_neighbour(drive, stage)
    stage = kept(stage)
    before = stage.finish()
    masks = late_masks(before, instance)
    part, after = stage.split(instance, Cut(masks=masks))
    expected = {k: part if k in masks else i for k, i in assigned(before).items()}
    assert part not in {i.id for i in before.instances}
    assert assigned(after) == expected
    views = {i.id: (i.state, i.num_points, i.num_views) for i in after.instances}
    assert views[part] == (InstanceState.TENTATIVE, 0, len(masks))
    assert views[instance] == (
        InstanceState.TENTATIVE,
        0,
        sum(i == instance for i in expected.values()),
    )
    assert after.events[-1].evidence == {"manual": 1.0, "masks": float(len(masks))}
    with pytest.raises(EditError, match="does not show this instance"):
        stage.split(instance, Cut(masks=masks))
    # What was parted can be given to another building, too.
    keeper, merged = stage.merge([part, other])
    assert assigned(merged) == {k: keeper if i == part else i for k, i in expected.items()}


def test_split_of_a_tentative_instance_holds_when_everything_is_decided_again(drive, stage):
    instance, _ = tentative_and_neighbour(drive, stage)
    stage = kept(stage)
    _, after = stage.split(instance, Cut(masks=late_masks(stage.finish(), instance)))
    stage = kept(stage)
    stage._full = None
    assert assigned(stage.finish()) == assigned(after)


def test_undo_of_a_split_of_a_tentative_instance_restores_every_byte(drive, stage):
    instance, _ = tentative_and_neighbour(drive, stage)
    stage = kept(stage)
    before = stage.finish()
    stage.split(instance, Cut(masks=late_masks(before, instance)))
    event, undone = kept(stage).undo()
    assert (event.kind, event.instance) == (EventKind.SPLIT, instance)
    assert content(undone) == content(before)


def test_split_of_a_tentative_instance_is_refused_without_masks_or_where_none_stays(drive, stage):
    instance, _ = tentative_and_neighbour(drive, stage)
    own = tuple(m for m, i in assigned(stage.finish()).items() if i == instance)
    for masks, complaint in (((), "part it by masks"), (own, "none would stay")):
        with pytest.raises(EditError, match=complaint):
            stage.split(instance, Cut(masks=masks))


def test_merge_gives_the_masks_of_a_tentative_instance_to_a_confirmed_one(drive, stage):
    instance, other = tentative_and_neighbour(drive, stage)
    stage = kept(stage)
    before = stage.finish()
    keeper, after = stage.merge([instance, other])
    assert keeper == other < instance
    expected = {k: other if i == instance else i for k, i in assigned(before).items()}
    assert assigned(after) == expected
    (found,) = [i for i in after.instances if i.id == other]
    assert found.state == InstanceState.CONFIRMED
    assert found.num_views == sum(i == other for i in expected.values())
    assert instance not in {i.id for i in after.instances}


def test_merge_of_a_tentative_instance_holds_when_everything_is_decided_again(drive, stage):
    instance, other = tentative_and_neighbour(drive, stage)
    stage = kept(stage)
    _, after = stage.merge([instance, other])
    stage = kept(stage)
    stage._full = None
    again = stage.finish()
    assert assigned(again) == assigned(after)
    _, undone = stage.undo()
    assert instance in {i.id for i in undone.instances}


def test_merge_into_an_older_tentative_instance_confirms_it_by_the_landmarks_of_the_other(
    drive, stage
):
    instance, other = tentative_and_neighbour(drive, stage)
    stage = kept(stage)
    facade = drive.street.facades[BLANK + 1]
    middle = facade[:2, 0].mean()
    line = np.array([[middle, 0.0], [middle, facade[0, 1]]])
    younger, parted = stage.split(other, Cut(line_map=line))
    assert younger > instance
    keeper, after = stage.merge([younger, instance])
    assert keeper == instance
    (found,) = [i for i in after.instances if i.id == instance]
    (part,) = [i for i in parted.instances if i.id == younger]
    assert (found.state, found.num_points) == (InstanceState.CONFIRMED, part.num_points)
    _, undone = stage.undo()
    assert assigned(undone) == assigned(parted)
    states = {i.id: (i.state, i.num_points, i.num_views) for i in undone.instances}
    assert states == {i.id: (i.state, i.num_points, i.num_views) for i in parted.instances}


def test_undo_of_a_merge_with_a_tentative_instance_restores_every_byte(drive, stage):
    instance, other = tentative_and_neighbour(drive, stage)
    stage = kept(stage)
    before = stage.finish()
    third = next(i.id for i in before.instances if i.id not in (instance, other))
    for merged in ([instance, other], [instance, third, other]):
        stage.merge(merged)
        _, undone = stage.undo()
        assert content(undone) == content(before)


def test_explain_a_tentative_instance_tells_its_masks_and_that_it_has_no_landmark(drive, stage):
    update = stage.finish()
    (instance, num), *_ = names_of(drive, update, BLANK).most_common()
    told = stage.explain(instance)
    assert told.instance.id == instance
    assert told.num_masks_own == 0
    assert sum(told.masks_by_class.values()) == num


# ------------------------------------------------------------ at the place of an instance

NEAR, NEIGHBOUR, FAR = 4, 5, 6


def host(away_m=1.0, sigma_m=2.0, num_beside=0, class_id=11, neighbour_m=6.0):
    """Whose place ten masks of one region are at, `away_m` before the landmarks of NEAR."""
    wall = np.stack(np.meshgrid(np.arange(8.0), [0.0], np.arange(5.0)), axis=-1).reshape(-1, 3)
    places = {NEAR: wall, NEIGHBOUR: wall + [0.0, -neighbour_m, 0.0], FAR: wall + [90.0, 0.0, 0.0]}
    points = np.concatenate(list(places.values()))
    of = {i: k * len(wall) + np.arange(len(wall)) for k, i in enumerate(places)}
    members = SimpleNamespace(
        count=lambda i: len(of.get(i, ())), of=of.__getitem__, class_of={NEAR: 11}.get
    )
    # NEAR is seen in pictures from 10 on, the neighbour in all
    seen = [(NEAR, k) for k in range(10 - num_beside, 40)]
    seen += [(NEIGHBOUR, k) for k in range(40)] + [(0, k) for k in range(10)]
    keys = np.concatenate([mask_keys(k, 0, np.array([i])) for i, k in seen])
    names = [Name(i, 1.0) for i, _ in seen]
    hosts = Hosts(keys, names, SimpleNamespace(points=lambda ids: points[ids]), members)
    own = np.concatenate([mask_keys(k, 0, np.array([9])) for k in range(10)])
    box = wall[::3] + [0.2, -away_m, 0.0]
    return hosts.of(_Region(own, class_id, box, np.full(len(box), sigma_m)))


def test_hosts_masks_just_before_an_instance_is_known_are_its_own():
    assert host() == NEAR
    assert host(num_beside=1) == NEAR


@pytest.mark.parametrize(
    "otherwise",
    [
        {"num_beside": 2},  # it has other masks in their pictures
        {"away_m": 2.5},  # as far from it as from nowhere
        {"neighbour_m": 1.5},  # nearer to one that stands beside them
        {"class_id": 12},
    ],
)
def test_hosts_other_masks_are_nobodys(otherwise):
    assert host(**otherwise) == 0


def test_hosts_empty_map_has_none():
    members = SimpleNamespace(count=lambda i: 0, of={}.get, class_of={}.get)
    state = SimpleNamespace(points=lambda ids: np.zeros((len(ids), 3)))
    hosts = Hosts(np.zeros(0, dtype=np.int64), [], state, members)
    keys = mask_keys(0, 0, np.arange(1))
    assert hosts.of(_Region(keys, 11, np.zeros((3, 3)), np.ones(3))) == 0


def test_finish_masks_at_the_place_of_an_instance_take_its_name(drive, stage, monkeypatch):
    _, other = tentative_and_neighbour(drive, stage)
    monkeypatch.setattr(Hosts, "of", lambda self, region: other)
    fresh = map_all(drive)
    update = fresh.finish()
    (name, num), *_ = names_of(drive, update, BLANK).most_common()
    assert (name, num) == (other, names_of(drive, stage.finish(), BLANK).most_common(1)[0][1])
    assert all(i.state == InstanceState.CONFIRMED for i in update.instances)
    fresh = kept(fresh)
    fresh._full = None
    assert assigned(fresh.finish()) == assigned(update)
    # By hand they go where the instance goes, and back.
    last = max(i.id for i in update.instances if i.id != other)
    keeper, merged = fresh.merge([other, last])
    joined = {k: keeper if i in (other, last) else i for k, i in assigned(update).items()}
    assert assigned(merged) == joined
    _, undone = fresh.undo()
    assert assigned(undone) == assigned(update)
