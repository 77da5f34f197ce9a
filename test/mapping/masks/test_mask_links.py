from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from street_maker import BUILDING, make_camera

from seg2d3d_ros.geometry import cameras, masks, transforms
from seg2d3d_ros.mapping.archive import FrameContent
from seg2d3d_ros.mapping.map_frame import MapFrame
from seg2d3d_ros.mapping.masks.mask_links import MaskLinker, mask_keys
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Mask, Rig

CAMERA = make_camera("c")
TREE = 21


def facade(x0, x1, y=6.0):
    """Points (n, 3) of a facade beside the street."""
    x, z = np.meshgrid(np.arange(x0, x1, 0.1), np.arange(0.2, 5.0, 0.1))
    return np.c_[x.ravel(), np.full(x.size, y), z.ravel()]


HOUSES = [facade(14.0, 18.0), facade(18.2, 22.0), facade(22.2, 30.0)]


def look(T_world_base, points, camera=CAMERA):
    """Pixels (n, 2) of points, those outside left out."""
    uv, inside = cameras.project(
        camera, transforms.apply(transforms.invert(T_world_base @ camera.T_base_cam), points)
    )
    return uv[inside], inside


def region(T_world_base, points, label, class_id=BUILDING, camera=CAMERA):
    """The mask of what is seen of points."""
    uv, _ = look(T_world_base, points, camera)
    picture = np.zeros((CAMERA.height_px, CAMERA.width_px), dtype=np.uint8)
    u, v = np.round(uv).astype(int).T
    picture[v, u] = 1
    import cv2

    closed = cv2.morphologyEx(picture, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    return Mask(label, class_id, 1.0, *masks.encode(closed.astype(bool)))


def drive(pictures, step_m=0.6, step_ns=100_000_000, num_landmarks=400):
    """A state whose frames show, per picture, lists of houses that share a mask."""
    state = MapState()
    state.rig = Rig((CAMERA,))
    landmarks = np.concatenate(HOUSES)
    landmarks = (
        landmarks[:: max(1, len(landmarks) // num_landmarks)]
        if num_landmarks
        else (np.zeros((0, 3)))
    )
    state._reserve(len(landmarks) + 1)
    state.set_points(np.arange(len(landmarks)), landmarks)
    for k, shown in enumerate(pictures):
        T = transforms.rigid(np.eye(3), np.array([step_m * k, 0.0, 0.0]))
        regions = tuple(
            region(T, np.concatenate([HOUSES[h] for h in houses]), 11001 + j)
            for j, houses in enumerate(shown)
        )
        uv, inside = look(T, landmarks)
        ids = np.flatnonzero(inside)
        content = FrameContent(ids, np.zeros_like(ids), uv.astype(np.float32), {0: regions})
        stamp = k * step_ns
        state.frames.append(MapFrame(stamp, T, True, (0,), (stamp,), "tracked", content))
    return state


def found(state, wanted=None, classes=frozenset({BUILDING})):
    """Links as {((frame, mask), (frame, mask)): overlap}."""
    linker = MaskLinker(classes)
    for k in range(len(state.frames)):
        linker.add(state, k, 0)
    pictures = [(k, 0) for k in (range(len(state.frames)) if wanted is None else wanted)]
    links = linker.among(pictures)
    name = {
        int(mask_keys(k, 0, np.array([j]))[0]): (k, j)
        for k, f in enumerate(state.frames)
        for j in range(len(f.masks[0]))
    }
    rows = zip(links.a.tolist(), links.b.tolist(), links.overlap.tolist(), strict=True)
    return {(name[a], name[b]): w for a, b, w in rows}


def test_mask_linker_same_houses_in_following_pictures_are_linked():
    links = found(drive([[[0], [1], [2]]] * 3))
    strong = {pair for pair, w in links.items() if w > 0.55}
    steps = ((0, 1), (1, 2), (0, 2))
    assert strong == {((i, h), (j, h)) for i, j in steps for h in range(3)}
    assert max((w for (a, b), w in links.items() if a[1] != b[1]), default=0) < 0.5


def test_mask_linker_a_picture_without_masks_is_bridged():
    links = found(drive([[[0], [1]], [], [[0], [1]]]))
    assert {pair for pair, w in links.items() if w > 0.55} == {((0, h), (2, h)) for h in (0, 1)}


def test_mask_linker_masks_in_each_fourth_picture_only_are_linked():
    links = found(drive([[[0], [1]], [], [], [], [[0], [1]], [], [], [], [[0], [1]]], step_m=0.2))
    strong = {pair for pair, w in links.items() if w > 0.55}
    steps = ((0, 4), (4, 8), (0, 8))
    assert strong == {((i, h), (j, h)) for i, j in steps for h in (0, 1)}


def test_mask_linker_a_mask_over_two_houses_is_not_the_same_as_one():
    links = found(drive([[[0], [1]], [[0, 1]]]))
    assert all(w < 0.75 for w in links.values())
    assert sum(w > 0.55 for w in links.values()) <= 1


def test_mask_linker_other_classes_are_not_linked():
    assert found(drive([[[0], [1]]] * 2), classes=frozenset({TREE})) == {}


def test_mask_linker_pictures_far_apart_in_time_are_not_linked():
    assert found(drive([[[0]]] * 2, step_ns=2_100_000_000)) == {}
    assert found(drive([[[0]]] * 2, step_ns=1_900_000_000)) != {}


def test_mask_linker_without_landmarks_boxes_link_each_house_with_itself_and_weakly():
    links = found(drive([[[0], [1]]] * 4, num_landmarks=0))
    steps = {(i, j) for i in range(4) for j in range(i + 1, min(i + 3, 4))}
    assert set(links) == {((i, h), (j, h)) for i, j in steps for h in (0, 1)}
    assert max(links.values()) <= 0.7


def test_mask_linker_boxes_link_nothing_over_more_than_a_quarter_of_a_second():
    seldom = drive([[[0], [1]]] * 3, num_landmarks=0, step_ns=260_000_000)
    assert found(seldom) == {}
    often = drive([[[0], [1]]] * 3, num_landmarks=0, step_ns=240_000_000)
    assert {(a[0], b[0]) for a, b in found(often)} == {(0, 1), (1, 2)}


def test_mask_linker_boxes_do_not_link_what_depths_link_otherwise():
    plain = found(drive([[[0], [1]]] * 2))
    assert set(plain) == {((0, h), (1, h)) for h in (0, 1)}
    # the second house is missed in the first picture, where its box still overlaps the first's
    assert set(found(drive([[[0]], [[0], [1]]]))) == {((0, 0), (1, 0))}


def test_mask_linker_among_leaves_links_to_other_pictures_out():
    state = drive([[[0], [1]]] * 4)
    links = found(state, wanted=[1, 2])
    assert links and {(a[0], b[0]) for a, b in links} == {(1, 2)}


def test_mask_linker_links_survive_a_change_of_the_world_frame():
    plain = found(drive([[[0], [1]]] * 3))
    state = drive([[[0], [1]]] * 3)
    linker = MaskLinker(frozenset({BUILDING}))
    linker.add(state, 0, 0)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    state.transform(transforms.rigid(turn, np.array([500.0, -40.0, 7.0])), 1.0)
    for k in (1, 2):
        linker.add(state, k, 0)
    links = linker.among([(k, 0) for k in range(3)])
    assert links.overlap.tolist() == pytest.approx(list(plain.values()))


def seen_by_two(second, houses):
    """Links, as (camera, mask) pairs, of one moment at which two cameras see houses."""
    state, T = drive([[[h] for h in houses]]), np.eye(4)
    state.rig = Rig((CAMERA, second))
    f = state.frames[0]
    ids = np.arange(len(state.landmark_ids()))
    uv, inside = look(T, state.points(ids), second)
    beside = [
        region(T, HOUSES[h], 11001 + h, camera=second)
        for h in houses
        if look(T, HOUSES[h], second)[1].any()
    ]
    both = FrameContent(
        np.r_[f.ids, ids[inside]],
        np.r_[np.zeros(len(f.ids), dtype=np.int64), np.ones(inside.sum(), dtype=np.int64)],
        np.r_[f.uv_px, uv.astype(np.float32)],
        {0: f.masks[0], 1: tuple(beside)},
    )
    state.frames[0] = MapFrame(0, T, True, (0, 1), (0, 0), "tracked", both)
    linker = MaskLinker(frozenset({BUILDING}))
    linker.add(state, 0, 0)
    linker.add(state, 0, 1)
    links = linker.among([(0, 0), (0, 1)])
    name = {int(mask_keys(0, c, np.array([j]))[0]): (c, j) for c in (0, 1) for j in range(3)}
    return {(name[a], name[b]) for a, b in zip(links.a.tolist(), links.b.tolist(), strict=True)}


def mounted(yaw_deg, left_m):
    """The camera turned and shifted to the left."""
    R = Rotation.from_euler("z", yaw_deg, degrees=True).as_matrix()
    turned = transforms.rigid(R, [0.0, left_m, 0.0])
    return replace(CAMERA, name="d", T_base_cam=turned @ CAMERA.T_base_cam)


def test_mask_linker_cameras_that_overlap_are_linked_at_one_moment():
    pairs = seen_by_two(mounted(0.0, 0.5), [0, 1, 2])
    assert pairs == {((0, h), (1, h)) for h in range(3)}


def test_mask_linker_cameras_that_look_apart_are_not_linked():
    assert seen_by_two(mounted(-90.0, 0.0), [0, 1, 2]) == set()
