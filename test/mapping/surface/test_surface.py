from dataclasses import replace

import numpy as np
import pytest
from street_maker import DriveOptions, make_drive, make_street

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.publication import landmark_cloud
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.mapping.surface.boxes import SurfaceCells
from seg2d3d_ros.mapping.surface.fusion import FIRST_ID
from seg2d3d_ros.mapping.surface.surface import Surface, SurfaceMap, join
from seg2d3d_ros.types import DepthSamples

OPTIONS = Config().mapping
NO_LANDMARKS = landmark_cloud(MapState(), *np.zeros((3, 0), dtype=np.int64))
WALL_Y = 6.0


def with_depths(cluster, is_first):
    """Depths of a wall y = 6 of base_link's first frame, as the cluster's keyframes see them."""
    parts = []
    camera = cluster.rig.cameras[0]
    u, v = np.meshgrid(np.arange(4, camera.width_px, 8), np.arange(4, camera.height_px, 8))
    uv = np.stack([u.ravel(), v.ravel()], axis=1)
    xy = (uv - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]]
    rays = np.c_[xy, np.ones(len(xy))]
    for k, f in enumerate(cluster.frames):
        if not f.is_keyframe or (k < cluster.num_overlap and not is_first):
            continue
        T = f.T_local_base @ camera.T_base_cam
        along = (rays @ T[:3, :3].T)[:, 1]
        with np.errstate(divide="ignore"):
            depth = (WALL_Y - T[1, 3]) / along
        rows = np.flatnonzero((depth > 0) & (depth < 20))
        labels = [m.label for s in cluster.segmentations for m in s.masks]
        parts.append(
            DepthSamples(
                frame=np.full(len(rows), k, np.uint32),
                camera=np.zeros(len(rows), np.uint16),
                uv_px=uv[rows].astype(np.uint16),
                depth_m=depth[rows].astype(np.float16),
                sigma_m=np.full(len(rows), 0.02, np.float16),
                colors_rgb=np.full((len(rows), 3), 50, np.uint8),
                label=np.full(len(rows), min(labels, default=0), np.uint16),
            )
        )
    names = vars(parts[0])
    joined = {n: np.concatenate([getattr(p, n) for p in parts]) for n in names}
    return replace(cluster, depths=DepthSamples(**joined))


@pytest.fixture(scope="module")
def clusters():
    made = make_drive(make_street(2, num_points=20), DriveOptions(size=16, overlap=6)).clusters
    return [with_depths(c, k == 0) for k, c in enumerate(made)]


def filled(clusters, T=None):
    T = np.eye(4) if T is None else T
    state = MapState()
    surface = SurfaceMap(OPTIONS, state)
    for c in clusters:
        surface.add(c, state.add(c, T).frames)
    return state, surface


def test_whole_points_lie_on_the_wall_that_was_measured(clusters):
    _, surface = filled(clusters)
    fused = surface.whole({}, NO_LANDMARKS).points
    assert len(fused.ids) > 500
    # half-precision depths of up to 20 m are good to 8 mm
    np.testing.assert_allclose(fused.points[:, 1], WALL_Y, atol=0.01)
    assert fused.num_views.min() >= OPTIONS.min_surface_views


def test_whole_points_face_the_path_of_the_vehicle(clusters):
    _, surface = filled(clusters)
    toward = surface.whole({}, NO_LANDMARKS).points.toward
    # the vehicle drives along y = 0
    assert (toward[:, 1] < -0.2).all()
    assert (np.linalg.norm(toward, axis=1) < 1.0 + 1e-9).all()


def test_whole_points_follow_the_poses_of_their_keyframes(clusters):
    state, surface = filled(clusters)
    shift = transforms.exp([0.0, 0.0, 0.3, 5.0, -2.0, 0.5])
    state.transform(shift, 1.0)
    back = transforms.apply(
        transforms.invert(shift), surface.whole({}, NO_LANDMARKS).points.points
    )
    np.testing.assert_allclose(back[:, 1], WALL_Y, atol=0.01)


def centred(cluster):
    """The same cluster with its cameras at base_link: how far they sit from it is not scaled."""
    cameras = tuple(
        replace(c, T_base_cam=transforms.rigid(c.T_base_cam[:3, :3], np.zeros(3)))
        for c in cluster.rig.cameras
    )
    return replace(cluster, rig=replace(cluster.rig, cameras=cameras))


def test_whole_points_grow_with_the_map_when_its_scale_is_found(clusters):
    moved = [with_depths(centred(c), k == 0) for k, c in enumerate(clusters)]
    state, surface = filled(moved)
    S = np.diag([2.0, 2.0, 2.0, 1.0])
    state.transform(S, 2.0)
    np.testing.assert_allclose(
        surface.whole({}, NO_LANDMARKS).points.points[:, 1], 2.0 * WALL_Y, atol=0.02
    )


def test_add_cluster_in_a_scaled_world_gives_what_growing_gives(clusters):
    moved = [with_depths(centred(c), k == 0) for k, c in enumerate(clusters)]
    _, direct = filled(moved, np.diag([2.0, 2.0, 2.0, 1.0]))
    np.testing.assert_allclose(
        direct.whole({}, NO_LANDMARKS).points.points[:, 1], 2.0 * WALL_Y, atol=0.02
    )


def test_recent_holds_the_newest_clusters_only(clusters):
    _, surface = filled(clusters)
    _, last = filled(clusters)
    recent, whole = surface.recent({}).points, last.whole({}, NO_LANDMARKS).points
    assert len(clusters) > 3
    assert len(recent.ids) < 0.8 * len(whole.ids)
    assert np.isin(recent.ids, whole.ids).mean() > 0.95


def test_no_samples_make_no_points(clusters):
    _, surface = filled([replace(c, depths=make.depths) for c, make in plain(clusters)])
    assert surface.whole({}, NO_LANDMARKS).points is None
    assert surface.recent({}).points is None


def plain(clusters):
    empty = DepthSamples(**{n: v[:0] for n, v in vars(clusters[0].depths).items()})
    return [(c, replace(c, depths=empty)) for c in clusters]


def test_stage_fused_points_join_the_cloud_and_change_nothing_else(clusters):
    config = override(Config(), {"mapping.refine": False})
    with_surface, without = MappingStage(config), MappingStage(config)
    for c, bare in plain(clusters):
        with_surface.push(c)
        without.push(bare)
    full, sparse = with_surface.finish(), without.finish()
    is_fused = full.cloud.ids >= FIRST_ID
    assert is_fused.sum() > 500
    np.testing.assert_array_equal(full.cloud.ids[~is_fused], sparse.cloud.ids)
    np.testing.assert_array_equal(full.cloud.points_map[~is_fused], sparse.cloud.points_map)
    assert full.assignments == sparse.assignments
    assert [i.id for i in full.instances] == [i.id for i in sparse.instances]
    assert set(full.cloud.instances[is_fused].tolist()) <= {0, *(i.id for i in full.instances)}
    assert full.cloud.instances[is_fused].any()
    assert len(np.unique(full.cloud.ids)) == len(full.cloud.ids)


def test_stage_surface_voxel_of_zero_turns_fusion_off(clusters):
    stage = MappingStage(override(Config(), {"mapping.surface_voxel_m": 0.0}))
    for c in clusters:
        assert (stage.push(c).cloud.ids < FIRST_ID).all()


def test_join_names_points_and_cells_as_they_are_placed(clusters):
    _, surface = filled(clusters)
    points = surface.whole({}, NO_LANDMARKS).points
    half = replace(points, instances=np.where(points.points[:, 0] > 5.0, 7, 8))
    n = len(points.ids)
    cells = SurfaceCells(points.points, np.zeros((n, 3)), np.zeros(n), half.instances)

    def place(_, owners):
        return np.where(owners == 7, 9, owners).astype(np.uint32)

    cloud, placed = join(NO_LANDMARKS, Surface(half, cells), {7}, place)
    # 8 is not shown, and 7 was merged into 9 by hand
    assert set(cloud.instances.tolist()) == {0, 9}
    assert set(placed.instances.tolist()) == {8, 9}
    np.testing.assert_array_equal(cloud.instances == 9, placed.instances == 9)
    assert join(NO_LANDMARKS, Surface(None), {7}, place) == (NO_LANDMARKS, None)
