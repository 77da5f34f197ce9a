"""What the identities of buildings must not depend on: left and right, names, time, copies."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from street_maker import (
    WIDTH_PX,
    DriveOptions,
    MaskErrors,
    adjusted_rand,
    agreement,
    assigned,
    later,
    make_drive,
    make_street,
    moved,
)

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.geometry import masks, transforms
from seg2d3d_ros.mapping.association.association import Associator
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Landmarks, Observations

UNREFINED = override(Config(), {"mapping.refine": False})
FLIP_Y, FLIP_X = np.diag([1.0, -1.0, 1.0, 1.0]), np.diag([-1.0, 1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def fallible():
    return make_drive(make_street(3), DriveOptions(errors=MaskErrors(0.15, 0.1, 0.1)))


@pytest.fixture(scope="module")
def expected(fallible):
    return finish(fallible.clusters)


def finish(clusters):
    """Return the instance of every mask at the end."""
    stage = MappingStage(UNREFINED)
    for cluster in clusters:
        stage.push(cluster)
    return assigned(stage.finish())


def mirrored(cluster):
    """The same drive with left and right exchanged, in the world and in the pictures."""
    rig = replace(
        cluster.rig,
        cameras=tuple(
            replace(c, T_base_cam=FLIP_Y @ c.T_base_cam @ FLIP_X) for c in cluster.rig.cameras
        ),
    )
    frames = tuple(
        replace(f, T_local_base=FLIP_Y @ f.T_local_base @ FLIP_Y) for f in cluster.frames
    )
    odometry = tuple(replace(o, T_i_j=FLIP_Y @ o.T_i_j @ FLIP_Y) for o in cluster.odometry)
    points = cluster.landmarks.points_local * [1.0, -1.0, 1.0]
    uv_px = cluster.observations.uv_px.copy()
    uv_px[:, 0] = WIDTH_PX - 1 - uv_px[:, 0]
    segmentations = tuple(
        replace(s, masks=tuple(_mirrored_mask(m, s) for m in s.masks))
        for s in cluster.segmentations
    )
    return replace(
        cluster,
        rig=rig,
        frames=frames,
        odometry=odometry,
        landmarks=replace(cluster.landmarks, points_local=points),
        observations=replace(cluster.observations, uv_px=uv_px),
        segmentations=segmentations,
    )


def _mirrored_mask(mask, segmentation):
    picture = masks.decode(mask.bbox_px, mask.runs, (segmentation.height_px, WIDTH_PX))
    bbox_px, runs = masks.encode(np.ascontiguousarray(picture[:, ::-1]))
    return replace(mask, bbox_px=bbox_px, runs=runs)


@pytest.mark.parametrize("seed", [1, 2])
def test_association_other_axes_and_numbers_do_not_matter_where_masks_are_bad(seed):
    errors = MaskErrors(missed=0.3, split=0.25, merged=0.2)
    street = make_street(4, seed=seed)
    clusters = make_drive(street, DriveOptions(errors=errors, noise_px=0.3, seed=seed)).clusters
    expected = finish(clusters)
    for motion in ([0.1, 0.0, 0.8, -142.3, 179.5, -75.3], [-0.2, 0.1, 2.6, 0.2, 0.3, 0.1]):
        found = finish([moved(c, transforms.exp(motion)) for c in clusters])
        assert agreement(found, expected) >= 0.99
    assert agreement(finish(renumbered(clusters, 1)), expected) >= 0.99


def test_association_ids_stay_when_the_whole_map_is_carried_elsewhere(fallible):
    state, associator = MapState(), Associator(UNREFINED)
    for cluster in fallible.clusters:
        associator.add(state, state.add(cluster, np.eye(4)).new_frames)
    ids = state.landmark_ids()
    before = associator.instances_of(state, ids)
    assert len(np.unique(before)) > 4
    state.transform(transforms.exp([0.0, 0.0, 0.7, 31.2, -8.9, 2.3]), 1.0)  # as GNSS does
    associator.rebuild(state)
    assert (associator.instances_of(state, ids) == before).mean() > 0.95


def test_association_mirrored_world_hardly_matters(fallible, expected):
    # pixels of a mirrored picture have their centres elsewhere by rounding alone
    assert agreement(finish([mirrored(c) for c in fallible.clusters]), expected) >= 0.98


@settings(deadline=None, max_examples=3)
@given(shift_s=st.integers(-1_000_000_000, 3_000_000_000))
def test_association_later_or_earlier_does_not_matter(fallible, expected, shift_s):
    shift_ns = shift_s * 1_000_000_000
    found = finish([later(c, shift_ns) for c in fallible.clusters])
    assert {(s - shift_ns, c, n): i for (s, c, n), i in found.items()} == expected


def test_association_cameras_in_other_order_and_of_other_names_do_not_matter(fallible, expected):
    name_of = {"left": "zebra", "right": "ant"}  # the order of names turns round

    def renamed(cluster):
        cameras = tuple(replace(c, name=name_of[c.name]) for c in reversed(cluster.rig.cameras))
        last = len(cameras) - 1
        frames = tuple(
            replace(
                f,
                cameras=tuple(last - c for c in reversed(f.cameras)),
                picture_stamps_ns=f.picture_stamps_ns[::-1],
            )
            for f in cluster.frames
        )
        found = tuple(
            sorted(
                (replace(s, camera=name_of[s.camera]) for s in cluster.segmentations),
                key=lambda s: (s.stamp_ns, s.camera),
            )
        )
        seen = replace(cluster.observations, camera=last - cluster.observations.camera)
        return replace(
            cluster,
            rig=replace(cluster.rig, cameras=cameras),
            frames=frames,
            segmentations=found,
            observations=seen,
        )

    other = finish([renamed(c) for c in fallible.clusters])
    back = {new: old for old, new in name_of.items()}
    assert agreement({(s, back[c], n): i for (s, c, n), i in other.items()}, expected) >= 0.99


def renumbered(clusters, seed):
    """The same drive with other numbers for its landmarks."""
    highest = max(int(c.landmarks.ids.max()) for c in clusters)
    number = np.random.default_rng(seed).permutation(highest + 1)
    return [
        replace(c, landmarks=replace(c.landmarks, ids=number[c.landmarks.ids])) for c in clusters
    ]


@settings(deadline=None, max_examples=3)
@given(seed=st.integers(0, 1000))
def test_association_landmarks_of_other_numbers_hardly_matter(fallible, expected, seed):
    assert agreement(finish(renumbered(fallible.clusters, seed)), expected) >= 0.98


def test_association_every_landmark_twice_hardly_matters(fallible, expected):
    highest = max(int(c.landmarks.ids.max()) for c in fallible.clusters) + 1

    def doubled(cluster):
        num = len(cluster.landmarks.ids)
        values = {k: np.concatenate([v, v]) for k, v in vars(cluster.landmarks).items()}
        values["ids"][num:] += highest
        seen = {k: np.concatenate([v, v]) for k, v in vars(cluster.observations).items()}
        seen["landmark"][len(cluster.observations.landmark) :] += num
        return replace(cluster, landmarks=Landmarks(**values), observations=Observations(**seen))

    assert agreement(finish([doubled(c) for c in fallible.clusters]), expected) >= 0.98


def test_association_every_observation_twice_does_not_matter(fallible, expected):
    def doubled(cluster):
        seen = {k: np.concatenate([v, v]) for k, v in vars(cluster.observations).items()}
        return replace(cluster, observations=Observations(**seen))

    assert agreement(finish([doubled(c) for c in fallible.clusters]), expected) >= 0.99


def test_association_every_mask_twice_both_copies_are_of_one_building(fallible, expected):
    copy = 500  # added to the number of a mask

    def doubled(cluster):
        found = tuple(
            replace(s, masks=(*s.masks, *(replace(m, label=m.label + copy) for m in s.masks)))
            for s in cluster.segmentations
        )
        return replace(cluster, segmentations=found)

    twice = finish([doubled(c) for c in fallible.clusters])
    first = {key: i for key, i in twice.items() if key[2] % 1000 < copy}
    second = {(s, c, n - copy): i for (s, c, n), i in twice.items() if n % 1000 >= copy}
    assert agreement(first, expected) >= 0.95
    assert adjusted_rand(
        [first[k] for k in sorted(first)], [second[k] for k in sorted(first)]
    ) == pytest.approx(1.0)
