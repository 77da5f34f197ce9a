import cv2
import numpy as np
import pytest

from seg2d3d_ros.clusters.references import ReferencePatches
from seg2d3d_ros.clusters.tracker import Tracker
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Camera

T_CAM_LOCAL = np.eye(4)
K = np.array([[300.0, 0.0, 159.5], [0.0, 300.0, 119.5], [0.0, 0.0, 1.0]])
CAMERA = Camera("c", 320, 240, K, transforms.rigid(transforms.R_BODY_OPTICAL, [0.0, 0.0, 1.6]))


def typical(found, true):
    """Distance that nine in ten keep to."""
    return np.quantile(np.linalg.norm(found - true, axis=1), 0.9)


@pytest.fixture(scope="module")
def picture():
    """Smooth noise, 240 x 320."""
    rng = np.random.default_rng(3)
    noise = cv2.GaussianBlur(rng.uniform(0, 255, (240, 320)).astype(np.float32), (0, 0), 2.0)
    return cv2.normalize(noise, None, 30, 220, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.fixture(scope="module")
def uv(picture):
    """Corners (n, 2) of it, well inside."""
    found = cv2.goodFeaturesToTrack(picture[40:200, 40:280], 60, 0.05, 15)[:, 0]
    return found.astype(np.float64) + 40.0


def zoomed(picture, zoom, shift=(0.0, 0.0)):
    """The picture enlarged about its centre, then shifted."""
    c = np.array([159.5, 119.5])
    M = np.c_[zoom * np.eye(2), c - zoom * c + shift]
    return cv2.warpAffine(picture, M, (320, 240), flags=cv2.INTER_CUBIC), M


def kept(picture, uv):
    patches = ReferencePatches()
    patches.add(picture, np.arange(len(uv)), uv, T_CAM_LOCAL)
    return patches


def landmarks(uv, zoom):
    """Points at 10 m by the reference, and the pose from which they look `zoom` times as large."""
    points = np.c_[(uv - [159.5, 119.5]) / 30.0, np.full(len(uv), 10.0)]
    T = np.eye(4)
    T[2, 3] = 10.0 / zoom - 10.0
    return points, T


@pytest.mark.parametrize("zoom", [0.85, 1.0, 1.3, 1.5])
def test_align_drifted_tracks_are_put_back_at_any_zoom(picture, uv, zoom):
    uv = uv + [0.3, -0.2]
    now, M = zoomed(picture, zoom, (2.4, -1.7))
    true = uv @ M[:, :2].T + M[:, 2]
    inside = ((true > 12) & (true < [307, 227])).all(axis=1)
    uv, true = uv[inside], true[inside]
    drift = np.random.default_rng(1).normal(0.0, 0.3, uv.shape)
    points, T = landmarks(uv, zoom)
    found = kept(picture, uv).align(now, np.arange(len(uv)), true + drift, points, T, CAMERA)
    assert typical(found, true) < 0.1  # drift: 0.64


def test_align_another_exposure_changes_nothing(picture, uv):
    darker = (0.6 * picture + 12.0).astype(np.uint8)
    points, T = landmarks(uv, 1.0)
    found = kept(picture, uv).align(darker, np.arange(len(uv)), uv + 0.4, points, T, CAMERA)
    assert typical(found, uv) < 0.1


def test_align_what_looks_otherwise_stays_where_flow_put_it(picture, uv):
    other = np.ascontiguousarray(picture[::-1, ::-1])
    points, T = landmarks(uv, 1.0)
    found = kept(picture, uv).align(other, np.arange(len(uv)), uv + 0.4, points, T, CAMERA)
    # here and there a corner is alike by chance
    assert (found == uv + 0.4).all(axis=1).mean() > 0.9


def test_align_much_nearer_corners_are_kept_anew(picture, uv):
    now, M = zoomed(picture, 2.0)
    there = uv @ M[:, :2].T + M[:, 2]
    inside = ((there > 12) & (there < [307, 227])).all(axis=1)
    points, T = landmarks(uv[inside], 2.0)
    patches, ids, there = kept(picture, uv[inside]), np.arange(inside.sum()), there[inside]
    np.testing.assert_array_equal(patches.align(now, ids, there, points, T, CAMERA), there)
    # from now on it is compared with the nearer picture
    again = patches.align(now, ids, there + 0.5, points, T, CAMERA)
    assert np.median(np.linalg.norm(again - there, axis=1)) < 0.35  # put off by 0.71


def test_align_without_landmark_takes_the_size_as_unchanged(picture, uv):
    nowhere = np.full((len(uv), 3), np.nan)
    found = kept(picture, uv).align(
        picture, np.arange(len(uv)), uv - 0.5, nowhere, T_CAM_LOCAL, CAMERA
    )
    assert typical(found, uv) < 0.1


def test_align_order_of_ids_does_not_matter(picture, uv):
    points, T = landmarks(uv, 1.0)
    mixed = np.random.default_rng(0).permutation(len(uv))
    found = kept(picture, uv).align(picture, mixed, uv[mixed] + 0.3, points[mixed], T, CAMERA)
    assert typical(found, uv[mixed]) < 0.1


def test_align_ended_tracks_are_forgotten_and_unknown_ones_stay(picture, uv):
    points, T = landmarks(uv, 1.0)
    patches, ids = kept(picture, uv[:10]), np.arange(5, 15)
    found = patches.align(picture, ids, uv[5:15] + 0.4, points[5:15], T, CAMERA)
    assert patches.ids.tolist() == [5, 6, 7, 8, 9]
    assert np.abs(found[:5] - uv[5:10]).max() < 0.1
    np.testing.assert_array_equal(found[5:], uv[10:15] + 0.4)


def test_align_more_corners_than_fit_into_one_picture(picture):
    small = np.ascontiguousarray(picture[:60, :80])
    u, v = np.meshgrid(np.arange(14.0, 66.0, 4.0), np.arange(14.0, 46.0, 4.0))
    uv = np.stack([u.ravel(), v.ravel()], axis=1)
    assert len(uv) > (60 // 13) * (80 // 13)
    points, T = landmarks(uv, 1.0)
    found = kept(small, uv).align(small, np.arange(len(uv)), uv + 0.3, points, T, CAMERA)
    assert typical(found, uv) < 0.1


def test_realign_ends_the_drift_of_flow(picture, uv):
    """Flow from picture to picture adds its errors up; noise makes them."""
    rng = np.random.default_rng(5)
    flowing, aligned = Tracker(200, 15), Tracker(200, 15)
    for tracker in (flowing, aligned):
        tracker.advance(picture, tracker.uv_px)
        tracker.add(np.arange(len(uv)), uv)
        tracker.remember(T_CAM_LOCAL)
    for _ in range(15):
        noisy = np.clip(picture + rng.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
        for tracker in (flowing, aligned):
            tracker.advance(noisy, tracker.uv_px)
        aligned.realign(np.full((len(aligned.ids), 3), np.nan), T_CAM_LOCAL, CAMERA)
    wrong = [np.sqrt(((t.uv_px - uv[t.ids]) ** 2).mean()) for t in (flowing, aligned)]
    assert wrong[1] < 0.6 * wrong[0]


def test_misfits_are_what_looks_otherwise_and_in_doubt_once_it_ended(picture, uv):
    tracker = Tracker(len(uv), 5)
    tracker.advance(picture, tracker.uv_px)
    tracker.add(np.arange(len(uv)), uv)
    tracker.remember(T_CAM_LOCAL)
    other = picture.copy()
    other[:, :150] = 255 - other[:, :150]  # no gain above 0 makes a patch its negative
    looks_otherwise = np.flatnonzero(uv[:, 0] < 140)
    assert len(looks_otherwise) > 10
    tracker.advance(picture, tracker.uv_px)
    tracker._image = other
    tracker.realign(np.full((len(uv), 3), np.nan), T_CAM_LOCAL, CAMERA)
    assert not len(tracker.ended_in_doubt)
    is_ended = tracker.ids % 2 == 0
    tracker.keep(~is_ended)
    expected = looks_otherwise[looks_otherwise % 2 == 0]
    np.testing.assert_array_equal(tracker.ended_in_doubt, expected)
    tracker.realign(np.full((len(tracker.ids), 3), np.nan), T_CAM_LOCAL, CAMERA)
    assert not len(tracker.ended_in_doubt)
