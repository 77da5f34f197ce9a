"""The same numbers as the tools of the field, where these are installed."""

from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from seg2d3d_ros.evaluation.identity import (
    count,
    count_id_switches,
    panoptic_quality,
    score_identity,
)
from seg2d3d_ros.evaluation.trajectory import Poses, pairs_by_length, score_trajectory


@pytest.fixture
def drive() -> tuple[Poses, Poses]:
    """A curved drive in steps of exactly one metre, and a noisy, scaled, moved estimate of it."""
    rng = np.random.default_rng(1)
    num = 80
    heading = np.cumsum(rng.normal(0, 0.05, num))
    T = np.tile(np.eye(4), (num, 1, 1))
    T[:, :3, :3] = Rotation.from_euler("z", heading[:, None]).as_matrix()
    T[1:, 0, 3] = np.cumsum(np.cos(heading[:-1]))
    T[1:, 1, 3] = np.cumsum(np.sin(heading[:-1]))
    stamps = 1_700_000_000_000_000_000 + np.arange(num) * 100_000_000
    est = T.copy()
    est[:, :3, :3] = (
        est[:, :3, :3] @ Rotation.from_rotvec(rng.normal(0, 0.01, (num, 3))).as_matrix()
    )
    est[:, :3, 3] = 1.1 * (est[:, :3, 3] + rng.normal(0, 0.2, (num, 3))) + [5, 6, 7]
    return Poses(stamps, est), Poses(stamps, T)


def test_score_trajectory_equals_evo(drive: tuple[Poses, Poses]) -> None:
    metrics = pytest.importorskip("evo.core.metrics")
    from evo.core.trajectory import PoseTrajectory3D

    est, gt = drive
    score = score_trajectory(est, gt)

    def evo(poses: Poses) -> Any:
        return PoseTrajectory3D(
            poses_se3=list(poses.T_world_body), timestamps=poses.stamps_ns / 1e9
        )

    for align, arguments in (("se3", {}), ("sim3", {"correct_scale": True})):
        moved = evo(est)
        moved.align(evo(gt), **arguments)
        ape = metrics.APE(metrics.PoseRelation.translation_part)
        ape.process_data((evo(gt), moved))
        rmse = ape.get_statistic(metrics.StatisticsType.rmse)
        assert score[f"ate_{align}_m"] == pytest.approx(rmse, rel=1e-9)
    _, _, scale = evo(est).align(evo(gt), correct_scale=True)
    assert score["scale"] == pytest.approx(scale)


def test_relative_errors_equal_evo(drive: tuple[Poses, Poses]) -> None:
    metrics = pytest.importorskip("evo.core.metrics")
    from evo.core.trajectory import PosePath3D

    est, gt = drive
    score = score_trajectory(est, gt)
    paths = [PosePath3D(poses_se3=list(p.T_world_body)) for p in (gt, est)]
    means = []
    for relation in ("translation_part", "rotation_angle_deg"):
        # Steps are exactly one metre, so that ten frames are ten metres of path.
        rpe = metrics.RPE(
            metrics.PoseRelation[relation],
            delta=10,
            delta_unit=metrics.Unit.frames,
            all_pairs=True,
        )
        rpe.process_data(tuple(paths))
        means.append(rpe.get_statistic(metrics.StatisticsType.mean))
    assert len(pairs_by_length(gt)) == score["rpe_num_pairs"] == 70
    assert score["rpe_translation_percent"] == pytest.approx(10 * means[0], rel=1e-9)
    assert score["rpe_rotation_deg"] == pytest.approx(means[1], rel=1e-9)


def make_tracks(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture, building and id of masks, at most one mask a building and an id in a picture."""
    rng = np.random.default_rng(seed)
    picture, building, predicted = [], [], []
    names = rng.permutation(9) + 1
    for t in range(40):
        if t == 20:
            names[:3] = names[:3][::-1]  # ids swap, as at a false merge
        for b in range(7):
            if rng.random() < 0.7:
                picture.append(t)
                building.append(b + 1 if rng.random() < 0.9 else 0)
                predicted.append(int(names[b]) if rng.random() < 0.85 else 0)
    return np.array(picture), np.array(building), np.array(predicted)


@pytest.mark.parametrize("seed", range(4))
def test_score_identity_equals_trackeval(seed: int) -> None:
    trackeval = pytest.importorskip("trackeval")
    picture, building, predicted = make_tracks(seed)
    buildings, ids = np.unique(building[building > 0]), np.unique(predicted[predicted > 0])
    data: dict[str, Any] = {
        "gt_ids": [],
        "tracker_ids": [],
        "similarity_scores": [],
        "num_gt_dets": int((building > 0).sum()),
        "num_tracker_dets": int((predicted > 0).sum()),
        "num_gt_ids": len(buildings),
        "num_tracker_ids": len(ids),
        "num_timesteps": 40,
    }
    for t in range(40):
        gt = np.flatnonzero((picture == t) & (building > 0))
        est = np.flatnonzero((picture == t) & (predicted > 0))
        data["gt_ids"].append(np.searchsorted(buildings, building[gt]))
        data["tracker_ids"].append(np.searchsorted(ids, predicted[est]))
        data["similarity_scores"].append((gt[:, None] == est[None, :]).astype(float))
    quiet = {"PRINT_CONFIG": False}
    identity = trackeval.metrics.Identity(quiet).eval_sequence(data)
    hota = trackeval.metrics.HOTA().eval_sequence(data)
    clear = trackeval.metrics.CLEAR(quiet).eval_sequence(data)
    score = score_identity(building, predicted)
    for ours, theirs in (("idf1", "IDF1"), ("idp", "IDP"), ("idr", "IDR")):
        assert score[ours] == pytest.approx(identity[theirs])
    for ours, theirs in (("hota", "HOTA"), ("det_a", "DetA"), ("ass_a", "AssA")):
        assert score[ours] == pytest.approx(float(np.mean(hota[theirs])))
    switches = count_id_switches(building, predicted, np.zeros(len(building), np.int64))
    assert switches == clear["IDSW"]


@pytest.mark.parametrize("seed", range(4))
def test_score_identity_equals_motmetrics(seed: int) -> None:
    mm = pytest.importorskip("motmetrics")
    picture, building, predicted = make_tracks(seed)
    events = mm.MOTAccumulator(auto_id=True)
    for t in range(40):
        gt = np.flatnonzero((picture == t) & (building > 0))
        est = np.flatnonzero((picture == t) & (predicted > 0))
        distance = np.where(gt[:, None] == est[None, :], 0.0, np.nan)
        events.update(building[gt], predicted[est], distance)
    names = ["idf1", "idp", "idr", "num_switches"]
    theirs = mm.metrics.create().compute(events, metrics=names).iloc[0]
    score = score_identity(building, predicted)
    for name in names[:3]:
        assert score[name] == pytest.approx(theirs[name])
    assert score["id_switches"] == theirs["num_switches"]


@pytest.mark.parametrize("seed", range(4))
def test_purity_equals_that_of_the_contingency_of_scikit_learn(seed: int) -> None:
    cluster = pytest.importorskip("sklearn.metrics.cluster")
    _, building, predicted = make_tracks(seed)
    is_assigned = predicted > 0
    # masks of no building are a main building of nobody: a class that never wins
    table = cluster.contingency_matrix(building[is_assigned], predicted[is_assigned])
    names = np.unique(building[is_assigned])
    purity = table[names > 0].max(axis=0).sum() / is_assigned.sum()
    assert score_identity(building, predicted)["purity"] == pytest.approx(purity)


@pytest.mark.parametrize("seed", range(6))
def test_panoptic_quality_equals_torchmetrics(seed: int) -> None:
    detection = pytest.importorskip("torchmetrics.detection")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    building = rng.integers(0, 6, 300)  # 0: no building, void
    # every mask has an id: torchmetrics takes pixels without one out of the true segments, which
    # the paper's own code does not
    is_right = (rng.random(300) < 0.7) & (building > 0)
    predicted = np.where(is_right, building, rng.integers(1, 9, 300))
    category = 11
    # masks stand in a row of pixels; those of no building are of an unknown category, void
    gt = np.column_stack([np.where(building > 0, category, 0), building])
    est = np.column_stack([np.full(300, category), predicted])
    metric = detection.PanopticQuality(
        things={category}, stuffs={7}, allow_unknown_preds_category=True,
        return_sq_and_rq=True, return_per_class=True,
    )  # fmt: skip
    metric.update(*(torch.tensor(a.reshape(1, 300, 1, 2)) for a in (est, gt)))
    pq, sq, rq = (float(v) for v in metric.compute()[0])
    ours = panoptic_quality(count(building, predicted))
    assert ours["pq"] == pytest.approx(pq, abs=1e-6)
    assert (ours["sq"], ours["rq"]) == pytest.approx((sq, rq), abs=1e-6)
