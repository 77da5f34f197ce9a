from dataclasses import replace

import numpy as np
import pytest
from test_facades import edges, wall

from seg2d3d_ros.geometry import masks, transforms
from seg2d3d_ros.mapping.archive import FrameContent
from seg2d3d_ros.mapping.filling import FacadeFiller
from seg2d3d_ros.mapping.fusion import FIRST_ID, FusedPoints
from seg2d3d_ros.mapping.state import MapFrame, MapState
from seg2d3d_ros.types import Camera, Mask, MaskAssignment, Rig

FOCAL_PX, SIZE = 400.0, (640, 480)
LABEL = 11003


def fused(points, instance):
    n = len(points)
    return FusedPoints(
        ids=FIRST_ID + np.arange(n),
        points=points,
        edge_m=edges(points),
        sigma_m=np.full(n, 0.05),
        num_views=np.full(n, 3),
        instances=np.full(n, instance),
        classes=np.full(n, 11),
        colors_rgb=np.full((n, 3), 90, np.uint8),
    )


@pytest.fixture
def state():
    """One keyframe whose camera looks along y from 10 m in front of a wall at y = 0.

    Its mask covers 5 m to both sides and 3 m up and down.
    """
    w, h = SIZE
    K = np.array([[FOCAL_PX, 0, (w - 1) / 2], [0, FOCAL_PX, (h - 1) / 2], [0, 0, 1]])
    turn = transforms.exp([0, 0, np.pi / 2, 0, 0, 0])[:3, :3]
    camera = Camera("c", w, h, K, transforms.rigid(turn @ transforms.R_BODY_OPTICAL, np.zeros(3)))
    picture = np.zeros((h, w), bool)
    picture[240 - 120 : 240 + 120, 320 - 200 : 320 + 200] = True
    mask = Mask(LABEL, 11, 1.0, *masks.encode(picture))
    state = MapState()
    state.rig = Rig((camera,))
    nothing = np.zeros(0, dtype=np.int64)
    content = FrameContent(nothing, nothing, np.zeros((0, 2), np.float32), {0: (mask,)})
    pose = transforms.rigid(np.eye(3), [0.0, -10.0, 3.0])
    state.frames.append(MapFrame(5, pose, True, (0,), (5,), "tracked", content))
    return state


def named(instance):
    return {(0, 0): [MaskAssignment(5, "c", LABEL, instance, 1.0, 9)]}


def test_fill_mask_puts_points_on_the_plane_where_nothing_was_measured(state):
    known = wall([-4, 0], [4, 0], 2, noise=0.0)
    samples = FacadeFiller(state, fused(known, 7), 3.0).fill([0], named(7))
    np.testing.assert_allclose(samples.points[:, 1], 0.0, atol=1e-6)
    assert samples.points[:, 2].max() == pytest.approx(4.9, abs=0.3)  # 3 m beyond the highest
    assert np.abs(samples.points[:, 0]).max() < 5.01
    assert set(samples.instance.tolist()) == {7}
    assert set(samples.class_id.tolist()) == {11}
    assert (samples.colors_rgb == 90).all()
    assert (samples.keyframe == 0).all()


def test_fill_without_reach_goes_no_farther_than_what_was_measured(state):
    known = wall([-4, 0], [4, 0], 2, noise=0.0)
    samples = FacadeFiller(state, fused(known, 7), 0.5).fill([0], named(7))
    assert samples.points[:, 2].max() < 2.6
    assert len(samples.points) > 50


def test_fill_mask_of_another_instance_stays_empty(state):
    filler = FacadeFiller(state, fused(wall([-4, 0], [4, 0], 2), 7), 3.0)
    assert len(filler.fill([0], named(8)).points) == 0
    assert len(filler.fill([0], named(0)).points) == 0
    assert len(filler.fill([0], {}).points) == 0


def test_fill_mask_of_unknown_class_stays_empty(state):
    frame = state.frames[0]
    unknown = replace(frame.masks[0][0], class_id=0)
    frame.held = replace(frame.content, masks={0: (unknown,)})
    filler = FacadeFiller(state, fused(wall([-4, 0], [4, 0], 2), 7), 3.0)
    assert len(filler.fill([0], named(7)).points) == 0


def test_fill_wall_out_of_range_stays_empty(state):
    away = wall([-4, 45], [4, 45], 2)
    assert len(FacadeFiller(state, fused(away, 7), 3.0).fill([0], named(7)).points) == 0


def test_filler_of_nothing_fills_nothing(state):
    empty = fused(np.zeros((0, 3)), 7)
    assert len(FacadeFiller(state, empty, 3.0).fill([0], named(7)).points) == 0
