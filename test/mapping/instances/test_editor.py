"""Edits by hand on a mapped street: what they do, what they outlive, and that undo restores."""

import copy

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from street_maker import DriveOptions, MaskErrors, assigned, make_drive, make_street

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.errors import EditError
from seg2d3d_ros.mapping.association.cut import Cut
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import EventKind, MapUpdate

CONFIG = override(Config(), {"mapping.refine": False})
# events only ever grow, and what an update takes away depends on the update before it
NOT_THE_MAP = {"events", "counts", "removed_instances"}


@pytest.fixture(scope="module")
def drive():
    errors = MaskErrors(missed=0.1, split=0.05, merged=0.05)
    return make_drive(make_street(3), DriveOptions(errors=errors))


@pytest.fixture(scope="module")
def finished(drive):
    stage = map_all(drive)
    stage.finish()
    return stage


def map_all(drive, config=CONFIG, num=None):
    stage = MappingStage(config)
    for cluster in drive.clusters[:num]:
        stage.push(cluster)
    return stage


def content(update):
    """Everything an update says of the map, as bytes and text."""
    out = {}
    for name in MapUpdate.__dataclass_fields__:
        value = getattr(update, name)
        if name in NOT_THE_MAP:
            continue
        if name in ("trajectory", "cloud"):
            out |= {f"{name}.{k}": v.tobytes() for k, v in vars(value).items()}
        elif name == "instances":
            out[name] = [
                {k: v.tobytes() if isinstance(v, np.ndarray) else v for k, v in vars(i).items()}
                for i in value
            ]
        else:
            out[name] = value.tobytes() if isinstance(value, np.ndarray) else value
    return out


def house_of(stage, drive, update):
    """Instance that most landmarks of each house carry."""
    ids, owner = update.cloud.ids, update.cloud.instances
    houses = drive.street.house[ids]
    return {h: int(np.bincount(owner[houses == h]).argmax()) for h in np.unique(houses).tolist()}


def points_of(update, instance):
    return set(update.cloud.ids[update.cloud.instances == instance].tolist())


# ------------------------------------------------------------------------------------ merge


def test_merge_gives_points_and_masks_of_both_to_the_older(drive):
    stage = map_all(drive)
    before = stage.finish()
    of = house_of(stage, drive, before)
    a, b = sorted((of[2], of[3]))
    keeper, after = stage.merge([b, a])
    assert keeper == a
    assert b not in {i.id for i in after.instances}
    assert points_of(after, a) == points_of(before, a) | points_of(before, b)
    now = {k: a if v == b else v for k, v in assigned(before).items()}
    assert assigned(after) == now
    merged = next(i for i in after.instances if i.id == a)
    assert merged.num_views == sum(v == a for v in now.values())
    assert stage.finish() is stage.finish() and assigned(stage.finish()) == now


def test_merge_is_an_event_with_evidence_against_it(drive):
    stage = map_all(drive)
    of = house_of(stage, drive, stage.finish())
    keeper, after = stage.merge([of[1], of[2]])
    event = after.events[-1]
    assert (event.kind, event.instance, event.other) == (
        EventKind.MERGED, keeper, max(of[1], of[2]),
    )  # fmt: skip
    assert event.evidence["manual"] == 1.0
    # two houses that the masks of most pictures tell apart
    assert event.evidence["views_against"] > 3 * event.evidence["views_for"]
    assert [e.sequence for e in after.events] == list(range(len(after.events)))


def test_merge_holds_for_what_comes_later_and_for_finish(drive):
    stage, plain = (map_all(drive, Config(), num=2) for _ in range(2))
    of = house_of(stage, drive, stage.snapshot())
    keeper, _ = stage.merge([of[1], of[2]])
    for s in (stage, plain):
        for cluster in drive.clusters[2:]:
            s.push(cluster)
    # masks that were weighed before the edit and agree with later ones: none keeps a dead name
    named = [sum(v == 0 for v in assigned(s.snapshot()).values()) for s in (stage, plain)]
    assert named[0] <= named[1]
    full, free = stage.finish(), plain.finish()
    of_free = house_of(plain, drive, free)
    assert of_free[1] != of_free[2]
    of_full = house_of(stage, drive, full)
    assert of_full[1] == of_full[2] == keeper
    assert len(full.instances) == len(free.instances) - 1


def test_merge_of_three_is_undone_as_one(drive):
    stage = map_all(drive)
    before = stage.finish()
    ids = [i.id for i in before.instances][:3]
    _, after = stage.merge(ids)
    assert len(after.instances) == len(before.instances) - 2
    _, undone = stage.undo()
    assert content(undone) == content(before)
    assert stage.num_edits == 0


@pytest.mark.parametrize(
    ("instances", "said"), [([1], "two or more"), ([1, 1], "two or more"), ([1, 999], "999")]
)
def test_merge_of_too_few_or_unknown_is_refused_and_changes_nothing(drive, instances, said):
    stage = map_all(drive)
    before = stage.finish()
    with pytest.raises(EditError, match=said):
        stage.merge(instances)
    assert content(stage.snapshot()) == content(before)
    assert len(stage.snapshot().events) == len(before.events)


def test_merged_instance_is_refused_with_what_became_of_it(drive):
    stage = map_all(drive)
    first, second, third = [i.id for i in stage.finish().instances][:3]
    stage.merge([first, second])
    with pytest.raises(EditError, match=f"merged into {first}"):
        stage.merge([second, third])


# ------------------------------------------------------------------------------------ split


def cut_of(drive, house):
    """A line across the middle of a house, from the road outwards."""
    corners = drive.street.facades[house]
    x, y = corners[:2, 0].mean(), corners[0, 1]
    return Cut(line_map=np.array([[x, 0.0], [x, y]]))


def test_split_by_a_line_parts_points_and_masks_on_either_side(drive):
    stage = map_all(drive)
    before = stage.finish()
    keeper = house_of(stage, drive, before)[2]
    other, after = stage.split(keeper, cut_of(drive, 2))
    middle = drive.street.facades[2][:2, 0].mean()
    cloud = after.cloud
    # house 2 stands left of the road: from the road outwards, left is towards smaller x
    assert (cloud.points_map[cloud.instances == other, 0] < middle).all()
    assert (cloud.points_map[cloud.instances == keeper, 0] >= middle).all()
    assert other > max(i.id for i in before.instances)
    assert points_of(after, keeper) | points_of(after, other) == points_of(before, keeper)
    changed = {k for k, v in assigned(after).items() if v != assigned(before)[k]}
    assert {assigned(before)[k] for k in changed} == {keeper}
    assert {assigned(after)[k] for k in changed} == {other}


def test_split_holds_for_what_comes_later_and_for_finish(drive):
    stage = map_all(drive, Config(), num=1)
    keeper = house_of(stage, drive, stage.snapshot())[2]
    other, _ = stage.split(keeper, cut_of(drive, 2))
    for cluster in drive.clusters[1:]:
        stage.push(cluster)
    full = stage.finish()
    middle = drive.street.facades[2][:2, 0].mean()
    mine = drive.street.house[full.cloud.ids] == 2
    x, owner = full.cloud.points_map[mine, 0], full.cloud.instances[mine]
    # voxels of 0.5 m may hold a corner of the neighbour
    assert (owner[x < middle] == other).mean() > 0.95
    assert (owner[x > middle] == keeper).mean() > 0.95


def test_split_by_masks_takes_what_they_show(drive):
    stage = map_all(drive)
    before = stage.finish()
    of = house_of(stage, drive, before)
    keeper, _ = stage.merge([of[1], of[2]])
    house_two = {
        k for k, houses in drive.houses.items() if houses == (2,) and k in assigned(before)
    }
    chosen = tuple(k for k in sorted(house_two) if assigned(before)[k] == of[2])
    other, after = stage.split(keeper, Cut(masks=chosen))
    landmarks = {h: points_of(after, i) for h, i in ((1, keeper), (2, other))}
    for house, ids in landmarks.items():
        share = np.mean(drive.street.house[sorted(ids)] == house)
        assert share > 0.95


def test_split_by_votes_finds_the_two_houses_that_were_merged(drive):
    stage = map_all(drive)
    of = house_of(stage, drive, stage.finish())
    keeper, _ = stage.merge([of[4], of[5]])
    other, after = stage.split(keeper, Cut())
    for part in (keeper, other):
        houses = drive.street.house[sorted(points_of(after, part))]
        assert np.bincount(houses).max() > 0.95 * len(houses)


def test_split_that_leaves_too_little_is_refused_and_changes_nothing(drive):
    stage = map_all(drive)
    before = stage.finish()
    beside = Cut(line_map=np.array([[-500.0, 0.0], [-500.0, 10.0]]))
    with pytest.raises(EditError, match="points of instance .* are needed"):
        stage.split(before.instances[0].id, beside)
    with pytest.raises(EditError, match="two points of the line are one"):
        stage.split(before.instances[0].id, Cut(line_map=np.zeros((2, 2))))
    with pytest.raises(EditError, match="does not show this instance"):
        stage.split(before.instances[0].id, Cut(masks=((1, "left", 11001),)))
    assert content(stage.snapshot()) == content(before)


# ------------------------------------------------------------------------------------- undo


def test_undo_without_edits_is_refused(drive):
    stage = map_all(drive, num=1)
    with pytest.raises(EditError, match="nothing to undo"):
        stage.undo()


def test_undo_says_which_event_it_takes_back(drive):
    stage = map_all(drive)
    ids = [i.id for i in stage.finish().instances]
    stage.merge(ids[:2])
    number = stage.snapshot().events[-1].sequence
    event, update = stage.undo()
    assert event.sequence == number
    assert update.events[-1].kind == EventKind.UNDONE
    assert update.events[-1].evidence["undoes"] == number


def test_undo_after_more_clusters_gives_the_map_without_the_edit_at_finish(drive):
    stage, plain = map_all(drive, Config(), num=2), map_all(drive, Config())
    of = house_of(stage, drive, stage.snapshot())
    stage.merge([of[1], of[2]])
    stage.split(house_of(stage, drive, stage.snapshot())[4], cut_of(drive, 4))
    for cluster in drive.clusters[2:]:
        stage.push(cluster)
    stage.finish()
    stage.undo()
    _, undone = stage.undo()
    expected = plain.finish()
    assert content(undone) == content(expected)


@settings(deadline=None, max_examples=6, phases=[Phase.generate])
@given(data=st.data())
def test_undo_of_any_sequence_of_edits_restores_every_byte(finished, data):
    stage = copy.deepcopy(finished)
    states, used = [content(stage.finish())], {i.id for i in stage.finish().instances}
    for _ in range(data.draw(st.integers(1, 5))):
        now = sorted(i.id for i in stage.snapshot().instances)
        if data.draw(st.booleans()) and len(now) > 2:
            chosen = data.draw(st.lists(st.sampled_from(now), min_size=2, max_size=3, unique=True))
            kept, _ = stage.merge(chosen)
            assert kept == min(chosen)
        else:
            yaw = data.draw(st.floats(0, 6.28))
            instance = data.draw(st.sampled_from(now))
            center = next(i for i in stage.snapshot().instances if i.id == instance).centroid_map
            line = np.stack([center[:2], center[:2] + [np.cos(yaw), np.sin(yaw)]])
            try:
                made, _ = stage.split(instance, Cut(line_map=line))
            except EditError:
                continue
            assert made not in used
            used.add(made)
        states.append(content(stage.snapshot()))
    for expected in reversed(states[:-1]):
        _, update = stage.undo()
        assert content(update) == expected
        assert content(stage.finish()) == expected


# ---------------------------------------------------------------------------------- explain


def test_explain_names_the_neighbour_as_rival_and_tells_why_it_is_apart(drive):
    stage = map_all(drive)
    of = house_of(stage, drive, stage.finish())
    told = stage.explain(of[2])
    assert told.instance.id == of[2]
    assert 0.8 * told.num_masks_touched < told.num_masks_own <= told.num_masks_touched
    near = dict(told.rivals)
    assert {of[1], of[3]} <= set(near)
    for c in (near[of[1]], near[of[3]]):
        assert c.views_against > 3 * c.views_for
        assert 0 <= c.jaccard <= c.containment <= 1
    assert told.events[0].kind == EventKind.CREATED
    assert told.masks_by_class == {11: told.instance.num_views}


def test_explain_of_a_merged_one_holds_the_history_of_both(drive):
    stage = map_all(drive)
    a, b = [i.id for i in stage.finish().instances][:2]
    created = {e.instance: e.sequence for e in stage.finish().events}
    stage.merge([a, b])
    told = stage.explain(a)
    assert {created[a], created[b]} <= {e.sequence for e in told.events}
    assert told.num_edits == 1
    with pytest.raises(EditError, match=f"merged into {a}"):
        stage.explain(b)


def test_automatic_decisions_carry_their_evidence(drive):
    events = map_all(drive).finish().events
    created = [e for e in events if e.kind == EventKind.CREATED]
    assert all(e.evidence["points"] > 0 for e in created)
    rivals = [e.evidence for e in created if "rival" in e.evidence]
    assert rivals and all(e["rival_views_against"] >= e["rival_views_for"] for e in rivals)
