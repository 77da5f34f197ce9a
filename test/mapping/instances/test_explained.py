from types import SimpleNamespace

import numpy as np
import pytest
from street_maker import DriveOptions, MaskErrors, assigned, make_drive, make_street

from seg2d3d_ros.config import Config, MappingConfig
from seg2d3d_ros.mapping import stage as stages
from seg2d3d_ros.mapping.instances.explained import Claims, find_explained
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import EventKind

FAR, NEAR, NEIGHBOUR = 3, 7, 8
NAMED = {FAR: 1.5, NEAR: 1.0}


def claims(*pictures):
    """Of pictures as lists of (name, {instance: evidence})."""
    return Claims(
        ([dict(v) for _, v in p], [SimpleNamespace(instance=i) for i, _ in p]) for p in pictures
    )


def test_heirs_are_those_that_explain_most_best_first():
    found = claims(*[[(FAR, {FAR: 1.5, NEAR: 0.7, NEIGHBOUR: 0.9, 9: 0.5})]] * 4)
    assert found.instances == [FAR]
    assert found.heirs(FAR) == [NEIGHBOUR, NEAR]
    assert found.numbers(FAR, NEAR) == {"masks": 4.0, "evidence_per_mask": pytest.approx(0.7)}


def test_heirs_counts_evidence_over_all_masks_of_an_instance():
    seldom = [[(FAR, {FAR: 1.5, NEAR: 1.0})]] + [[(FAR, {FAR: 1.5})]]
    assert claims(*seldom).heirs(FAR) == []
    often = [[(FAR, {FAR: 1.5, NEAR: 1.0})]] * 2 + [[(FAR, {FAR: 1.5})]]
    assert claims(*often).heirs(FAR) == [NEAR]


@pytest.mark.parametrize(("num_beside", "heirs"), [(1, [NEAR]), (2, [])])
def test_heirs_show_nothing_beside_the_masks_that_they_explain(num_beside, heirs):
    beside = [[(FAR, NAMED), (NEAR, {NEAR: 2.0})]] * num_beside
    alone = [[(FAR, NAMED)]] * (10 - num_beside)
    elsewhere = [[(NEAR, {NEAR: 2.0})]] * 20
    assert claims(*alone, *beside, *elsewhere).heirs(FAR) == heirs


def explained(sigma_far=2.0, away_m=0.0, sigma_near=0.1, num_far=8, unit=1.0, kind=0, by_hand=()):
    """Whom it finds where the far instance has landmarks `away_m` from those of the near one."""
    rng = np.random.default_rng(2)
    wall = rng.uniform(0.0, 1.0, (40, 3)) * [8.0, 0.1, 6.0]
    points = np.concatenate([wall, wall[:num_far] + [0.0, away_m, 0.0]]) * unit
    sigma = np.repeat([sigma_near, sigma_far], [40, num_far]) * unit
    of = {NEAR: np.arange(40), FAR: 40 + np.arange(num_far)}
    state = SimpleNamespace(unit=unit, points=lambda i: points[i], sigma=lambda i: sigma[i])
    members = SimpleNamespace(
        of=of.__getitem__, count=lambda i: len(of[i]), class_of={NEAR: 11, FAR: kind}.__getitem__
    )
    seen = claims(*[[(FAR, NAMED)]] * 6, *[[(NEAR, {NEAR: 2.0, FAR: 0.9})]] * 30)
    return find_explained(seen, state, members, MappingConfig(), by_hand)


def test_find_explained_instance_that_cannot_tell_its_place_goes_with_who_explains_it():
    assert explained() == [(FAR, NEAR)]
    assert explained(kind=11) == [(FAR, NEAR)]
    assert explained(unit=0.1) == [(FAR, NEAR)]


@pytest.mark.parametrize(
    "otherwise",
    [
        {"sigma_far": 0.4},  # it shares places with others
        {"sigma_near": 0.6},  # nor can the other one tell its place
        {"num_far": 4},  # it is no instance yet
        {"kind": 12},
        {"by_hand": {FAR}},
        {"by_hand": {NEAR}},
    ],
)
def test_find_explained_instance_stays_where_that_is_not_so(otherwise):
    assert explained(**otherwise) == []


@pytest.mark.parametrize("unit", [1.0, 0.1])
@pytest.mark.parametrize(
    ("sigma_m", "away_m", "is_found"),
    [(2.0, 5.5, True), (2.0, 6.5, False), (9.0, 8.5, True), (9.0, 9.5, False)],
)
def test_find_explained_gap_may_be_as_wide_as_allowed_or_as_it_is_unsure(
    sigma_m, away_m, is_found, unit
):
    assert explained(sigma_m, away_m, unit=unit) == [(FAR, NEAR)] * is_found


# ------------------------------------------------------------------------- in the stage


@pytest.fixture(scope="module")
def drive():
    errors = MaskErrors(missed=0.1, split=0.1, merged=0.1)
    return make_drive(make_street(3), DriveOptions(errors))


def finished(drive):
    stage = MappingStage(Config())
    for cluster in drive.clusters:
        stage.push(cluster)
    return stage, stage.finish()


@pytest.fixture(scope="module")
def plain(drive):
    return finished(drive)[1]


@pytest.fixture
def joined(drive, plain, monkeypatch):
    """Three houses, found to be one: the second and the third are explained by the first."""
    first, second, third, *_ = (i.id for i in plain.instances)
    pairs = [(second, first), (third, first)]
    monkeypatch.setattr(stages, "find_explained", lambda *_: pairs)
    return (*finished(drive), (first, second, third))


def test_finish_joins_what_is_explained_into_the_oldest_and_tells_why(plain, joined):
    _, full, (first, *others) = joined
    assert [i.id for i in full.instances] == [i.id for i in plain.instances if i.id not in others]
    before, now = assigned(plain), assigned(full)
    for key, name in before.items():
        if name in (first, *others):
            assert now[key] == first
    is_one = np.isin(plain.cloud.instances, [first, *others])
    at = dict(zip(full.cloud.ids.tolist(), full.cloud.instances.tolist(), strict=True))
    ids = plain.cloud.ids[is_one]
    assert {at[i] for i in ids[ids >= 0].tolist()} == {first}
    told = [e for e in full.events if e.kind == EventKind.MERGED and e.other in others]
    assert [(e.instance, e.other) for e in told] == [(first, i) for i in others]
    for e in told:
        assert e.evidence["masks"] == list(before.values()).count(e.other)
        assert {"evidence_per_mask", "places", "points_a", "views_for"} <= e.evidence.keys()


def test_finish_undo_of_an_edit_restores_what_was_joined(joined):
    stage, full, (first, *_) = joined
    last = full.instances[-1].id
    _, merged = stage.merge([first, last])
    assert assigned(merged) != assigned(full)
    _, again = stage.undo()
    assert assigned(again) == assigned(full)
    assert (again.cloud.instances == full.cloud.instances).all()
