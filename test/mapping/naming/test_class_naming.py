from collections import Counter
from dataclasses import replace

import numpy as np
from street_maker import DriveOptions, MaskErrors, make_drive, make_street

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.mapping.masks.mask_links import MaskLinks, mask_keys
from seg2d3d_ros.mapping.naming.class_naming import name_within_classes
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import InstanceState

HOUSE, CHURCH = 11, 12
NONE = np.zeros(0, dtype=np.int64)
NO_LINKS = MaskLinks(NONE, NONE, np.zeros(0))


def key(picture, mask=0):
    return int(mask_keys(picture, 0, np.array([mask]))[0])


def names(evidence, classes, class_of, links=NO_LINKS, keys=None):
    keys = [key(k) for k in range(len(evidence))] if keys is None else keys
    votes = [Counter(e) for e in evidence]
    found = name_within_classes(np.array(keys), votes, links, np.array(classes), class_of)
    return [n.instance for n in found.names], found.orphans


def test_name_within_classes_mask_takes_the_best_of_its_own_class():
    evidence = [{1: 2.0, 2: 0.8}, {1: 2.0, 2: 0.8}, {1: 2.0}]
    found, _ = names(evidence, [HOUSE, CHURCH, CHURCH], {1: HOUSE, 2: CHURCH})
    assert found == [1, 2, 0]


def test_name_within_classes_unknown_class_goes_with_all():
    evidence = [{1: 2.0}, {1: 2.0}, {7: 1.0}]
    assert names(evidence, [0, CHURCH, CHURCH], {1: HOUSE})[0] == [1, 0, 7]
    assert names(evidence, [0, CHURCH, CHURCH], {1: 0, 7: CHURCH})[0] == [1, 1, 7]


def test_name_within_classes_links_between_classes_carry_no_name():
    links = MaskLinks(np.array([key(0), key(1)]), np.array([key(1), key(2)]), np.array([0.9, 0.9]))
    evidence = [{1: 2.0}, {}, {}]
    assert names(evidence, [HOUSE] * 3, {1: HOUSE}, links)[0] == [1, 1, 1]
    found, orphans = names(evidence, [HOUSE, CHURCH, CHURCH], {1: HOUSE}, links)
    assert found == [1, 0, 0]
    assert [group.tolist() for group in orphans] == [[1, 2]]


def church_drive(has_landmarks=True):
    """A street whose second building is a church, which each sixth of its masks says otherwise."""
    street = make_street(3)
    if not has_landmarks:
        keep = street.house != 2
        street = replace(street, points=street.points[keep], house=street.house[keep])
    drive = make_drive(street, DriveOptions(MaskErrors(missed=0.1, split=0.1)))

    def kind(s, m):
        is_church = drive.houses.get((s.stamp_ns, s.camera, m.label)) == (2,)
        return CHURCH if is_church and (s.stamp_ns // 100_000_000) % 6 else HOUSE

    def recast(s):
        return replace(s, masks=tuple(replace(m, class_id=kind(s, m)) for m in s.masks))

    return [
        replace(c, segmentations=tuple(recast(s) for s in c.segmentations)) for c in drive.clusters
    ]


def finish(clusters):
    stage = MappingStage(override(Config(), {"segmentation.building_classes": [HOUSE, CHURCH]}))
    for cluster in clusters:
        stage.push(cluster)
    return stage, stage.finish()


def test_finish_masks_of_two_classes_carry_instances_of_their_own():
    _, full = finish(church_drive())
    class_of = {i.id: i.class_id for i in full.instances}
    pairs = Counter((a.class_id, class_of[a.instance]) for a in full.assignments if a.instance)
    assert set(pairs) == {(HOUSE, HOUSE), (CHURCH, CHURCH)}
    churches = [a for a in full.assignments if a.class_id == CHURCH]
    assert sum(a.instance > 0 for a in churches) > 0.95 * len(churches)


def test_finish_building_of_another_class_without_landmarks_is_tentative_not_a_neighbour():
    stage, full = finish(church_drive(has_landmarks=False))
    (church,) = [i for i in full.instances if i.class_id == CHURCH]
    assert church.state == InstanceState.TENTATIVE
    owners = Counter(a.instance for a in full.assignments if a.class_id == CHURCH)
    assert owners[church.id] > 0.9 * owners.total()
    # by hand they may become one in spite of their classes, and stay it
    house = next(i.id for i in full.instances if i.class_id == HOUSE)
    stage.merge([house, church.id])
    stage._full = None
    again = stage.finish()
    assert {a.instance for a in again.assignments if a.class_id == CHURCH} <= {house, 0}
    assert sum(a.instance == house for a in again.assignments) > owners[church.id]
