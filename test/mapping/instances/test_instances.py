import numpy as np
import pytest

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.instances.instances import Support, describe
from seg2d3d_ros.types import Mask, MaskAssignment

LENGTH_M, HEIGHT_M = 12.0, 6.0
CENTER = np.array([40.0, -7.0, 3.0])


def facade(yaw_rad=0.0, depth_m=0.0, num=2000):
    """Landmarks (n, 3) of a wall, evenly spread, and its truth: the box of 98 % of them."""
    rng = np.random.default_rng(0)
    local = rng.uniform(-0.5, 0.5, (num, 3)) * [LENGTH_M, depth_m, HEIGHT_M]
    return transforms.apply(transforms.exp([0, 0, yaw_rad, *CENTER]), local)


def assignment(stamp, label=11001, instance=3, score=0.8, class_id=11, camera="c"):
    return MaskAssignment(stamp, camera, label, instance, score, 5, class_id)


def mask(score=1.0, crop=b"", embedding=None, model=""):
    none = np.zeros(0, dtype=np.uint32)
    return Mask(11001, 11, score, (0, 0, 1, 1), none, embedding, model, crop)


def supported(stamps, **changes):
    support = Support()
    for stamp in stamps:
        support.add(assignment(stamp, **changes), mask(), 0.0)
    return support


@pytest.mark.parametrize("yaw_deg", [0.0, 30.0, 80.0, -60.0])
def test_describe_box_and_footprint_are_those_of_the_facade(yaw_deg):
    yaw = np.deg2rad(yaw_deg)
    made = describe(3, facade(yaw), np.full(2000, 0.05), supported(range(5)))
    # a few percent at each end are cut off as outliers
    np.testing.assert_allclose(made.box_center_map, CENTER, atol=0.25)
    np.testing.assert_allclose(made.box_size_m, [LENGTH_M, 0.0, HEIGHT_M], atol=0.06 * LENGTH_M)
    assert made.box_yaw_rad == pytest.approx(yaw, abs=0.01)
    along = np.array([np.cos(yaw), np.sin(yaw)])
    reach = (made.footprint_map - CENTER[:2]) @ along
    assert np.ptp(reach) == pytest.approx(made.box_size_m[0], abs=1e-5)


def test_describe_footprint_is_counter_clockwise_and_has_the_area_of_the_box():
    made = describe(3, facade(0.4, depth_m=5.0), np.full(2000, 0.05), supported(range(5)))
    x, y = made.footprint_map.T
    area = 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
    assert area == pytest.approx(made.box_size_m[0] * made.box_size_m[1], rel=1e-6)
    assert area > 0


def test_describe_two_stray_landmarks_do_not_stretch_the_box():
    points = facade()
    points[:2] = [[400.0, 90.0, 50.0], [-300.0, -80.0, -20.0]]
    made = describe(3, points, np.full(2000, 0.05), supported(range(5)))
    assert made.box_size_m[0] < LENGTH_M + 0.1
    assert made.box_size_m[2] < HEIGHT_M + 0.1
    assert np.linalg.norm(made.centroid_map - CENTER) < 0.4


def test_describe_sums_up_stamps_masks_and_scores():
    few, many = supported([5, 9, 9, 2]), supported(range(40))
    made = describe(3, facade(), np.full(2000, 0.05), few)
    assert (made.id, made.class_id, made.num_points, made.num_views) == (3, 11, 2000, 4)
    assert (made.first_stamp_ns, made.last_stamp_ns) == (2, 9)
    assert 0.0 < made.score < describe(3, facade(), np.full(2000, 0.05), many).score <= 0.8


def test_describe_score_of_few_points_is_low_however_many_masks():
    many = supported(range(40))
    points = facade()
    scores = [describe(3, points[:n], np.full(n, 0.05), many).score for n in (10, 40, 2000)]
    assert scores[0] < 0.3 < scores[1] < 0.6 < scores[2] <= 0.8


def test_describe_score_of_uncertain_landmarks_is_low_unless_a_quarter_is_good():
    def score(sigma):
        return describe(3, facade(), np.asarray(sigma), supported(range(40))).score

    exact = score(np.full(2000, 0.0))
    assert score(np.full(2000, 1.0)) == pytest.approx(exact / 2)
    assert score(np.full(2000, np.inf)) < exact / 50
    assert score(np.repeat([0.1, 5.0], [600, 1400])) > 0.98 * exact


def test_describe_class_is_that_of_most_masks():
    support = supported([1, 2], class_id=0)
    for stamp in (3, 4, 5):
        support.add(assignment(stamp, class_id=11), mask(), 0.0)
    assert describe(3, facade(), np.full(2000, 0.05), support).class_id == 11


def test_describe_uncertainty_of_the_centroid_falls_with_the_number_of_landmarks():
    support = supported(range(5))
    few = describe(3, facade(num=25), np.full(25, 0.5), support).sigma_m
    # independent errors: sigma / sqrt(n)
    assert few == pytest.approx(0.5 / 5.0)
    assert describe(3, facade(num=400), np.full(400, 0.5), support).sigma_m == pytest.approx(0.025)
    assert np.isfinite(describe(3, facade(num=4), np.full(4, np.inf), support).sigma_m)


def test_describe_best_views_are_the_largest_with_a_crop():
    support = Support()
    for stamp, area, crop in ((1, 50, b"a"), (2, 900, b""), (3, 70, b"b"), (4, 10, b"c")):
        support.add(assignment(stamp), mask(crop=crop), area)
    for stamp, area, crop in ((5, 60, b"d"), (6, 70, b"e")):
        support.add(assignment(stamp), mask(crop=crop), area)
    views = describe(3, facade(), np.full(2000, 0.05), support).best_views
    assert [v.crop_jpeg for v in views] == [b"b", b"e", b"d"]


@pytest.mark.parametrize("num", [1, 2, 3])
def test_describe_few_points_give_a_box_around_them(num):
    points = np.array([[1.0, 2.0, 3.0], [4.0, 6.0, 3.5], [1.0, 6.0, 5.0]])[:num]
    made = describe(1, points, np.full(num, 0.1), Support())
    assert np.isfinite(made.footprint_map).all()
    assert (made.box_size_m >= 0).all()
    assert made.box_size_m[2] == pytest.approx(np.ptp(points[:, 2]))


def test_describe_class_weighs_masks_by_their_scores_and_leaves_the_unknown_out():
    support = Support()
    for stamp, class_id, score in ((1, 11, 0.9), (2, 12, 0.4), (3, 12, 0.4), (4, 0, 1.0)):
        support.add(assignment(stamp, class_id=class_id), mask(score), 0.0)
    # 0.9 of class 11 against 0.8 of class 12, and class 0 against nobody
    assert describe(3, facade(), np.full(2000, 0.05), support).class_id == 11
    assert describe(3, facade(), np.full(2000, 0.05), supported([1], class_id=0)).class_id == 0


def test_describe_embedding_is_the_mean_weighted_by_scores_of_the_model_that_made_most():
    support = Support()
    a, b = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)
    support.add(assignment(1, score=1.0), mask(0.75, embedding=a, model="clip"), 0.0)
    support.add(assignment(2, score=0.5), mask(0.5, embedding=b, model="clip"), 0.0)
    support.add(assignment(3, score=0.5), mask(1.0, embedding=b, model="other"), 0.0)
    support.add(assignment(4), mask(), 0.0)
    made = describe(3, facade(), np.full(2000, 0.05), support)
    assert made.embedding_model_id == "clip"
    np.testing.assert_allclose(made.embedding, [0.75, 0.25])
    assert made.embedding.dtype == np.float32
    assert describe(3, facade(), np.full(2000, 0.05), supported([1])).embedding is None


def test_describe_footprint_is_as_uncertain_as_landmarks_and_the_gap_beside_them():
    few = describe(3, facade(num=40), np.full(40, 0.01), supported(range(5)))
    many = describe(3, facade(num=4000), np.full(4000, 0.3), supported(range(5)))
    # exact landmarks, 30 cm apart: the ends lie somewhere beyond the outermost ones
    assert few.footprint_sigma_m == pytest.approx(LENGTH_M / 41, rel=0.25)
    assert many.footprint_sigma_m == pytest.approx(0.3, rel=0.01)
