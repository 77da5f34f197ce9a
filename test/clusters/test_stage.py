import random
from dataclasses import replace

import numpy as np
import pytest

from seg2d3d_ros.clusters import rest
from seg2d3d_ros.clusters import stage as stages
from seg2d3d_ros.clusters.depth import DepthSampler
from seg2d3d_ros.clusters.stage import ClusterStage
from seg2d3d_ros.config import Config, override
from seg2d3d_ros.geometry import masks, transforms
from seg2d3d_ros.types import Dropped, Fix, Frame, Mask, Odometry, Rig, Segmentation

# small clusters, so that short drives make several
CONFIG = override(
    Config(),
    {
        "runtime.num_threads": 1,
        "clusters.cluster_keyframes": 6,
        "clusters.overlap_keyframes": 3,
        "clusters.keyframe_distance_m": 1.2,
        "clusters.max_features": 200,
        "clusters.window_keyframes": 6,
    },
)
SECOND_NS = 1_000_000_000


def run(rig, items, config=CONFIG, expects_segmentation=False):
    """Push all items and finish."""
    stage = ClusterStage(config, rig, expects_segmentation)
    clusters = [c for item in items for c in stage.push(item)]
    return clusters + stage.finish()


def poses(clusters):
    """The newest pose, status and session of every stamp."""
    return {f.stamp_ns: (f.T_local_base, f.status, c.session) for c in clusters for f in c.frames}


def increments(drive, found):
    """Estimated and true motion since the first picture, (n, 4, 4) each."""
    est = np.stack([found[s][0] for s in drive.stamps_ns])
    gt = np.stack(drive.T_world_base)
    return transforms.invert(est[:1]) @ est, transforms.invert(gt[:1]) @ gt


def assert_equal(a, b):
    """Compare clusters bit by bit."""
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert (x.sequence, x.session, x.num_overlap, x.scale, x.is_last) == (
            (y.sequence, y.session, y.num_overlap, y.scale, y.is_last)
        )
        assert [f.stamp_ns for f in x.frames] == [f.stamp_ns for f in y.frames]
        for f, g in zip(x.frames, y.frames, strict=True):
            np.testing.assert_array_equal(f.T_local_base, g.T_local_base)
        for part in ("landmarks", "observations"):
            for name, value in vars(getattr(x, part)).items():
                np.testing.assert_array_equal(value, getattr(getattr(y, part), name))


@pytest.fixture(scope="module")
def stereo_clusters(stereo_drive):
    return run(stereo_drive.rig, stereo_drive.items())


@pytest.fixture(scope="module")
def odometry_clusters(odometry_drive):
    return run(odometry_drive.rig, odometry_drive.items())


def test_stage_sequence_has_no_gaps_and_only_the_last_is_marked(stereo_clusters):
    assert len(stereo_clusters) > 3
    assert [c.sequence for c in stereo_clusters] == list(range(len(stereo_clusters)))
    assert [c.is_last for c in stereo_clusters] == [False] * (len(stereo_clusters) - 1) + [True]
    assert {c.session for c in stereo_clusters} == {0}


def test_stage_leading_keyframes_are_those_of_the_previous_cluster(stereo_clusters):
    assert stereo_clusters[0].num_overlap == 0
    for before, after in zip(stereo_clusters[:-1], stereo_clusters[1:], strict=True):
        old, new = ([f.stamp_ns for f in c.frames if f.is_keyframe] for c in (before, after))
        assert after.num_overlap == 3
        assert old[-3:] == new[:3]
        shared = np.intersect1d(before.landmarks.ids, after.landmarks.ids)
        assert len(shared) > 100


def test_stage_every_picture_has_a_pose_and_every_observation_a_picture(
    stereo_clusters, stereo_drive
):
    assert sorted(poses(stereo_clusters)) == stereo_drive.stamps_ns
    for c in stereo_clusters:
        seen = c.observations
        assert (np.bincount(seen.landmark, minlength=len(c.landmarks.ids)) >= 2).all()
        assert seen.frame.max() < len(c.frames)
        assert all(f.cameras == (0, 1) for f in c.frames)
        assert (seen.uv_px >= 0).all()
        assert (seen.uv_px < [320, 192]).all()


def test_stage_stereo_follows_the_true_path_in_metres(stereo_clusters, stereo_drive):
    est, gt = increments(stereo_drive, poses(stereo_clusters))
    # tracks are good to 0.1 px; 0.1 px of 5.7 px disparity at 20 m is 2 % of scale for one pair,
    # and under 1 % of the 15.6 m for hundreds
    assert np.linalg.norm(est[:, :3, 3] - gt[:, :3, 3], axis=1).max() < 0.16
    turn = [transforms.angle_rad(transforms.invert(a) @ b) for a, b in zip(est, gt, strict=True)]
    # 0.1 px / 190 px = 0.03 deg, walked over some 30 keyframes: 0.03 * sqrt(30) = 0.16 deg
    assert np.rad2deg(max(turn)) < 0.6
    assert {c.scale for c in stereo_clusters} == {"metric"}
    assert [s for _, s, _ in poses(stereo_clusters).values()].count("coasted") <= 1


def test_stage_landmarks_lie_on_the_walls(stereo_clusters, stereo_drive):
    c = stereo_clusters[0]
    first = transforms.invert(c.frames[0].T_local_base)
    to_world = stereo_drive.T_world_base[0] @ first
    points = transforms.apply(to_world, c.landmarks.points_local)
    points, sigma = points[np.isfinite(points[:, 0])], c.landmarks.sigma_m
    x, y, z = points.T
    off = np.min([np.abs(z), np.abs(y - 6), np.abs(y + 5), np.abs(x - 70)], axis=0)
    assert len(points) > 200
    # the sigma reported is for one whole pixel
    known = sigma[np.isfinite(c.landmarks.points_local[:, 0])]
    assert np.median(off) < 0.1
    assert np.mean(off < 2.0 * known) > 0.9


def test_stage_one_camera_alone_knows_the_shape_but_not_the_scale(stereo_drive):
    rig = Rig(stereo_drive.rig.cameras[:1])
    found = run(rig, [f for f in stereo_drive.frames() if f.camera == "left"])
    est, gt = increments(stereo_drive, poses(found))
    assert {c.scale for c in found} == {"unknown"}
    est, gt = est[:, :3, 3], gt[:, :3, 3]
    scale = np.linalg.norm(gt[-1]) / np.linalg.norm(est[-1])
    # the path is straight but for 8 cm; its scale drifts by a few percent at most
    assert np.linalg.norm(est * scale - gt, axis=1).max() < 0.5


def test_stage_odometry_gives_metres_to_one_camera(odometry_clusters, odometry_drive):
    est, gt = increments(odometry_drive, poses(odometry_clusters))
    # perfect odometry of 5 cm per sqrt(m): pictures must not pull it away by more than a fraction
    assert np.linalg.norm(est[:, :3, 3] - gt[:, :3, 3], axis=1).max() < 0.1
    assert {c.scale for c in odometry_clusters} == {"metric"}
    for c in odometry_clusters:
        keyframes = [k for k, f in enumerate(c.frames) if f.is_keyframe]
        assert [(r.frame_i, r.frame_j) for r in c.odometry] == list(
            zip(keyframes[:-1], keyframes[1:], strict=True)
        )


@pytest.mark.parametrize("num_before", [5, 15])
def test_stage_odometry_that_begins_later_gives_its_metres_to_all_of_the_map(
    odometry_drive, num_before
):
    begin_ns = odometry_drive.stamps_ns[num_before]
    items = [
        i for i in odometry_drive.items() if not isinstance(i, Odometry) or i.stamp_ns >= begin_ns
    ]
    # what a cluster has told stays as it was told: the first one comes after odometry here
    config = override(CONFIG, {"clusters.cluster_keyframes": 20})
    clusters = run(odometry_drive.rig, items, config)
    assert {c.scale for c in clusters} == {"metric"}
    assert {c.session for c in clusters} == {0}
    est, gt = increments(odometry_drive, poses(clusters))
    way, true = (np.linalg.norm(T[-1, :3, 3]) for T in (est, gt))
    assert way == pytest.approx(true, rel=0.05)
    assert np.linalg.norm(est[:, :3, 3] - gt[:, :3, 3], axis=1).max() < 0.5
    depth = clusters[0].depths.depth_m
    assert not len(depth) or np.median(depth) < 30.0


def test_stage_odometry_that_begins_after_a_cluster_was_told_gives_metres_to_those_after(
    odometry_drive,
):
    begin_ns = odometry_drive.stamps_ns[25]
    items = [
        i for i in odometry_drive.items() if not isinstance(i, Odometry) or i.stamp_ns >= begin_ns
    ]
    clusters = run(odometry_drive.rig, items)
    scales = [c.scale for c in clusters]
    assert (scales[0], scales[-1]) == ("unknown", "metric")
    assert scales == sorted(scales, reverse=True)  # unknown, then metric to the end
    assert {c.session for c in clusters} == {0}
    true = dict(zip(odometry_drive.stamps_ns, odometry_drive.T_world_base, strict=True))
    ends = [clusters[-1].frames[k] for k in (0, -1)]
    told, way = (
        np.linalg.norm(a[:3, 3] - b[:3, 3])
        for a, b in ([f.T_local_base for f in ends], [true[f.stamp_ns] for f in ends])
    )
    assert told == pytest.approx(way, rel=0.05)


def test_stage_same_items_twice_are_bitwise_equal(stereo_clusters, stereo_drive):
    config = override(CONFIG, {"runtime.num_threads": 3})  # two for the cameras
    assert_equal(run(stereo_drive.rig, stereo_drive.items(), config), stereo_clusters)


def test_stage_arrival_order_of_cameras_does_not_matter(stereo_clusters, stereo_drive):
    rng = random.Random(0)
    # one camera lags by up to one second, and every now and then both change places
    arrival = [
        (f.stamp_ns + (SECOND_NS * (f.camera == "left")) + rng.random(), k, f)
        for k, f in enumerate(stereo_drive.frames())
    ]
    items = [f for _, _, f in sorted(arrival, key=lambda a: a[:2])]
    assert_equal(run(stereo_drive.rig, items), stereo_clusters)


def test_stage_late_odometry_does_not_matter(odometry_clusters, odometry_drive):
    lag = SECOND_NS // 2
    key = {Frame: 0, Odometry: lag}
    items = sorted(odometry_drive.items(), key=lambda i: i.stamp_ns + key[type(i)])
    assert_equal(run(odometry_drive.rig, items), odometry_clusters)


def test_stage_standing_still_makes_no_keyframes(stereo_drive):
    still = stereo_drive.images[0]
    stamps = [stereo_drive.stamps_ns[0] + k * SECOND_NS // 10 for k in range(25)]
    rig = stereo_drive.rig
    noise = np.random.default_rng(0)
    frames = [
        Frame(c.name, s, np.clip(i + noise.normal(0, 2, i.shape), 0, 255).astype(np.uint8))
        for s in stamps
        for c, i in zip(rig.cameras, still, strict=True)
    ]
    (cluster,) = run(rig, frames)
    assert [f.is_keyframe for f in cluster.frames] == [True] + [False] * 24
    # two grey values of noise move a track by some hundredths of a pixel
    far = [np.linalg.norm(f.T_local_base[:3, 3]) for f in cluster.frames]
    assert max(far) < 0.05


def test_stage_standing_long_tells_every_picture_and_keeps_few(stereo_drive, monkeypatch):
    monkeypatch.setattr(stages, "_MOST_FRAMES", 20)
    drive = stereo_drive
    last = [i for i in drive.items() if isinstance(i, Frame)][-2:]
    standing = [
        replace(f, stamp_ns=f.stamp_ns + k * SECOND_NS // 10) for k in range(1, 150) for f in last
    ]
    stage, clusters, most = ClusterStage(CONFIG, drive.rig, False), [], 0
    for item in [*drive.items(), *standing]:
        clusters += stage.push(item)
        most = max(most, len(stage._front_end.frames))
    clusters += stage.finish()
    # 150 moments of standing
    assert most <= 20
    stamps = {f.stamp_ns for c in clusters for f in c.frames}
    assert stamps == {*drive.stamps_ns, *(f.stamp_ns for f in standing)}
    assert max(len(c.frames) for c in clusters) <= 20
    T = np.stack([poses(clusters)[s][0] for s in sorted(stamps)[-149:]])
    assert np.linalg.norm(np.ptp(T[:, :3, 3], axis=0)) < 0.05


def test_stage_standing_for_minutes_keeps_few_moments_and_counts_the_others(
    stereo_drive, monkeypatch
):
    monkeypatch.setattr(stages, "_MOST_FRAMES", 20)
    monkeypatch.setattr(rest, "_ALL_KEPT", 30)
    monkeypatch.setattr(rest, "_KEPT_EVERY", 10)
    # who creeps may have depths measured at rest: never in a picture that is forgotten
    monkeypatch.setattr(DepthSampler, "_is_due", lambda *_: True)
    drive = stereo_drive
    last = [i for i in drive.items() if isinstance(i, Frame)][-2:]
    standing = [
        replace(f, stamp_ns=f.stamp_ns + k * SECOND_NS // 10) for k in range(1, 200) for f in last
    ]
    masks = [Segmentation(f.camera, f.stamp_ns, 8, 8, ()) for f in standing]
    stage = ClusterStage(CONFIG, drive.rig, True)
    items = [*drive.items(), *(i for pair in zip(standing, masks, strict=True) for i in pair)]
    clusters = [c for item in items for c in stage.push(item)] + stage.finish()
    told = {
        (c.rig.cameras[k].name, s)
        for c in clusters
        for f in c.frames
        for k, s in zip(f.cameras, f.picture_stamps_ns, strict=True)
    }
    dropped = [(d.camera, d.stamp_ns) for c in clusters for d in c.dropped]
    # every picture is told or dropped, once
    everything = {(i.camera, i.stamp_ns) for i in items if isinstance(i, Frame)}
    assert len(dropped) == len(set(dropped)) == len(everything) - len(told)
    assert told | set(dropped) == everything
    assert {d.reason for c in clusters for d in c.dropped} == {"standing"}
    # 30 of 200 moments at rest, one in ten of the others, and the newest of each cluster
    at_rest = {s for _, s in told if s > drive.stamps_ns[-1]}
    assert 29 + 16 <= len(at_rest) <= 29 + 17 + 10
    # masks travel with the pictures that are told, and with no others
    masked = [(s.camera, s.stamp_ns) for c in clusters for s in c.segmentations]
    assert set(masked) == {t for t in told if t[1] in at_rest}
    assert len(masked) == len(set(masked))


def test_stage_black_pictures_coast_on_odometry_and_come_back(odometry_drive):
    blind = range(15, 27)
    black = np.zeros_like(odometry_drive.images[0][0])
    images = [[black] if k in blind else row for k, row in enumerate(odometry_drive.images)]
    clusters = run(odometry_drive.rig, replace(odometry_drive, images=images).items())
    found = poses(clusters)
    assert len(found) == 40
    assert {s for _, _, s in found.values()} == {0}
    status = [found[s][1] for s in odometry_drive.stamps_ns]
    assert all(status[k] == "coasted" for k in blind)
    assert status[-8:].count("tracked") == 8
    est, gt = increments(odometry_drive, found)
    assert np.linalg.norm(est[:, :3, 3] - gt[:, :3, 3], axis=1).max() < 0.1


def test_stage_black_pictures_alone_never_invent_motion(stereo_drive):
    black = np.zeros_like(stereo_drive.images[0][0])
    frames = [replace(f, image=black) for f in stereo_drive.frames()]
    clusters = run(stereo_drive.rig, frames)
    found = poses(clusters)
    assert sorted(found) == stereo_drive.stamps_ns
    for T, status, _ in found.values():
        assert status == "coasted"
        np.testing.assert_array_equal(T, np.eye(4))
    assert all(len(c.landmarks.ids) == 0 for c in clusters)


def test_stage_gap_without_odometry_starts_a_session_of_its_own(stereo_drive):
    half = len(stereo_drive.frames()) // 2
    frames = stereo_drive.frames()
    frames[half:] = [
        replace(f, stamp_ns=f.stamp_ns + 6 * SECOND_NS) for f in stereo_drive.frames()[half:]
    ]
    clusters = run(stereo_drive.rig, frames)
    sessions = [c.session for c in clusters]
    assert sorted(set(sessions)) == [0, 1]
    assert sessions == sorted(sessions)
    assert [c.sequence for c in clusters] == list(range(len(clusters)))
    first, second = (
        np.unique(np.concatenate([c.landmarks.ids for c in clusters if c.session == k]))
        for k in (0, 1)
    )
    assert len(np.intersect1d(first, second)) == 0
    assert next(c for c in clusters if c.session == 1).num_overlap == 0
    assert len(poses(clusters)) == 40


def test_stage_gap_with_odometry_stays_one_session(odometry_drive):
    cut = odometry_drive.stamps_ns[20]
    items = [
        replace(i, stamp_ns=i.stamp_ns + 6 * SECOND_NS * (i.stamp_ns >= cut))
        for i in odometry_drive.items()
    ]
    assert {c.session for c in run(odometry_drive.rig, items)} == {0}


def test_stage_every_picture_is_used_or_counted_as_dropped(stereo_drive):
    frames = stereo_drive.frames()
    late = [frames[0], frames[7], replace(frames[30], camera="right")]
    outside = Dropped("left", frames[-1].stamp_ns, "decode_failed")
    clusters = run(stereo_drive.rig, [*frames[:60], *late, outside, *frames[60:]])
    dropped = [d for c in clusters for d in c.dropped]
    assert sorted(d.reason for d in dropped) == ["decode_failed"] + ["stamp_back"] * 3
    used = sum(len(f.cameras) for c in clusters for f in c.frames[_known(c) :])
    assert used == 80


def _known(cluster):
    """How many leading frames the previous cluster held too."""
    if not cluster.num_overlap:
        return 0
    keyframes = [k for k, f in enumerate(cluster.frames) if f.is_keyframe]
    return keyframes[cluster.num_overlap - 1] + 1


def test_stage_camera_that_stops_leaves_the_other_going(stereo_drive):
    frames = [
        f
        for f in stereo_drive.frames()
        if f.camera == "left" or f.stamp_ns < stereo_drive.stamps_ns[20]
    ]
    found = run(stereo_drive.rig, frames)
    est, gt = increments(stereo_drive, poses(found))
    assert sorted(poses(found)) == stereo_drive.stamps_ns
    # the scale is known from the first half, and drifts a little without the second camera
    assert np.linalg.norm(est[:, :3, 3] - gt[:, :3, 3], axis=1).max() < 0.4


def test_stage_time_that_jumps_back_goes_on_in_a_new_session(odometry_drive):
    items = odometry_drive.items()
    again = [replace(i, stamp_ns=i.stamp_ns - 100 * SECOND_NS) for i in items]
    clusters = run(odometry_drive.rig, [*items, *again])
    assert {c.session for c in clusters} == {0, 1}
    dropped = [d for c in clusters for d in c.dropped]
    assert len(poses(clusters)) + len(dropped) == 80
    second = {s: v for s, v in poses(clusters).items() if v[2] == 1}
    assert len(second) == 31
    est = [second[s][0] for s in sorted(second)]
    # 30 steps of 0.4 m on the odometry of after the jump
    assert np.linalg.norm(est[-1][:3, 3] - est[0][:3, 3]) == pytest.approx(12.0, abs=0.05)


def segment(frame, box, class_id, label):
    """A segmentation with one rectangular mask."""
    h, w = frame.image.shape
    mask = np.zeros((h, w), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    bbox_px, runs = masks.encode(mask)
    return Segmentation(
        frame.camera, frame.stamp_ns, w, h, (Mask(label, class_id, 1.0, bbox_px, runs),)
    )


@pytest.mark.parametrize(("class_id", "is_avoided"), [(26, True), (23, True), (11, False)])
def test_stage_moving_things_and_sky_never_become_landmarks(stereo_drive, class_id, is_avoided):
    box = (200, 20, 300, 150)
    items = []
    for f in stereo_drive.frames()[:30]:
        items += [f, segment(f, box, class_id, class_id * 1000 + 1)]
    clusters = run(stereo_drive.rig, items, expects_segmentation=True)
    uv = np.concatenate([c.observations.uv_px[c.observations.camera == 0] for c in clusters])
    inside = ((uv > [200.5, 20.5]) & (uv < [298.5, 148.5])).all(axis=1)
    assert (inside.sum() == 0) == is_avoided
    assert len(uv) > 300


def test_stage_segmentations_come_out_once_with_crops_of_buildings_on_keyframes(stereo_drive):
    frames = stereo_drive.frames()[:24]
    items = [i for f in frames for i in (f, segment(f, (10, 10, 120, 90), 11, 11001))]
    clusters = run(stereo_drive.rig, items, expects_segmentation=True)
    out = [s for c in clusters for s in c.segmentations]
    assert sorted((s.stamp_ns, s.camera) for s in out) == [(f.stamp_ns, f.camera) for f in frames]
    keyframes = {f.stamp_ns for c in clusters for f in c.frames if f.is_keyframe}
    for s in out:
        assert bool(s.masks[0].crop_jpeg) == (s.stamp_ns in keyframes)


def test_stage_fixes_travel_once(odometry_drive):
    fixes = [Fix(s, 48.0, 11.0, 500.0) for s in odometry_drive.stamps_ns[::5]]
    items = sorted([*odometry_drive.items(), *fixes], key=lambda i: i.stamp_ns)
    clusters = run(odometry_drive.rig, items)
    assert [f.stamp_ns for c in clusters for f in c.fixes] == [f.stamp_ns for f in fixes]


def test_finish_without_pictures_gives_one_empty_last_cluster(stereo_drive):
    (cluster,) = run(stereo_drive.rig, [])
    assert cluster.is_last
    assert cluster.frames == ()
    assert len(cluster.landmarks.ids) == len(cluster.observations.landmark) == 0


def test_finish_twice_gives_nothing_more(stereo_drive):
    stage = ClusterStage(CONFIG, stereo_drive.rig, expects_segmentation=False)
    for f in stereo_drive.frames()[:6]:
        stage.push(f)
    assert [c.is_last for c in stage.finish()] == [True]
    assert stage.finish() == []
