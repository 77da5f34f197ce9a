from dataclasses import replace

import numpy as np
import pytest
from test_instances import supported

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.instances.instances import describe
from seg2d3d_ros.mapping.surface.boxes import SurfaceCells, corners, draw_boxes
from seg2d3d_ros.mapping.surface.facades import CELL_M

LENGTH_M, DEPTH_M, HEIGHT_M = 12.0, 8.0, 6.0


def plane(along, up, normal):
    """Centres (n, 3) of the cells of a plane between zero and the ends of two vectors."""
    along, up = np.array(along, dtype=float), np.array(up, dtype=float)
    a, b = (
        np.arange(CELL_M / 2, np.linalg.norm(v), CELL_M) / np.linalg.norm(v) for v in (along, up)
    )
    grid = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)
    return grid @ np.stack([along, up]), np.tile(np.array(normal, dtype=float), (len(grid), 1))


def house(yaw_rad=0.0, at=(40.0, -7.0), instance=3):
    """Front and left wall of a house whose front left corner stands at a place."""
    front = plane([LENGTH_M, 0, 0], [0, 0, HEIGHT_M], [0, -1, 0])
    side = plane([0, DEPTH_M, 0], [0, 0, HEIGHT_M], [-1, 0, 0])
    T = transforms.exp([0, 0, yaw_rad, *at, 0.0])
    centers = transforms.apply(T, np.concatenate([front[0], side[0]]))
    normals = np.concatenate([front[1], side[1]]) @ T[:3, :3].T
    n = len(centers)
    return SurfaceCells(centers, normals, np.full(n, 0.1), np.full(n, instance))


def together(*cells):
    names = vars(cells[0])
    return SurfaceCells(**{n: np.concatenate([getattr(c, n) for c in cells]) for n in names})


def instance(number=3):
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    return describe(number, points, np.full(50, 0.1), supported(range(5)))


@pytest.mark.parametrize("yaw_deg", [0.0, 25.0, -70.0, 85.0])
def test_draw_boxes_are_those_of_the_house(yaw_deg):
    yaw = np.deg2rad(yaw_deg)
    (drawn,) = draw_boxes([instance()], house(yaw))
    np.testing.assert_allclose(drawn.box_size_m, [LENGTH_M, DEPTH_M, HEIGHT_M], atol=CELL_M)
    assert drawn.box_yaw_rad == pytest.approx(yaw, abs=0.01)
    T = transforms.exp([0, 0, yaw, 40.0, -7.0, 0.0])
    middle = transforms.apply(T, np.array([[LENGTH_M, DEPTH_M, HEIGHT_M]]) / 2.0)[0]
    np.testing.assert_allclose(drawn.box_center_map, middle, atol=CELL_M / 2)
    truth = corners(middle[:2], LENGTH_M, DEPTH_M, yaw)
    np.testing.assert_allclose(drawn.footprint_map, truth, atol=CELL_M)


def test_draw_boxes_leaves_all_else_as_it_was():
    before = instance()
    (drawn,) = draw_boxes([before], house())
    shape = ("box_center_map", "box_size_m", "box_yaw_rad", "footprint_map", "footprint_sigma_m")
    same = replace(drawn, **{n: getattr(before, n) for n in shape})
    assert same == before


def test_draw_boxes_of_neighbours_keep_apart():
    cells = together(house(), house(at=(40.0 + LENGTH_M, -7.5), instance=9))
    left, right = draw_boxes([instance(3), instance(9)], cells)
    assert left.footprint_map[:, 0].max() <= right.footprint_map[:, 0].min() + CELL_M
    assert right.box_center_map[0] - left.box_center_map[0] == pytest.approx(LENGTH_M, abs=0.1)


def test_draw_boxes_few_strays_do_not_stretch_them():
    cells = house()
    cells.centers[:4] += [30.0, 0.0, 9.0]
    (drawn,) = draw_boxes([instance()], cells)
    np.testing.assert_allclose(drawn.box_size_m, [LENGTH_M, DEPTH_M, HEIGHT_M], atol=2 * CELL_M)


def test_draw_boxes_without_enough_walls_keep_what_they_were():
    before = instance()
    cells = house()
    few = SurfaceCells(**{n: v[:19] for n, v in vars(cells).items()})
    roof = replace(cells, normals=np.tile([0.0, -0.6, 0.8], (len(cells.centers), 1)))
    for some in (few, roof, replace(cells, instances=cells.instances + 1)):
        assert draw_boxes([before], some) == (before,)


def test_draw_boxes_footprint_is_as_uncertain_as_its_walls_and_cells():
    cells = house()
    rough = replace(cells, sigma_m=np.full(len(cells.centers), 0.5))
    fine, coarse = (draw_boxes([instance()], c)[0].footprint_sigma_m for c in (cells, rough))
    assert fine == pytest.approx(np.hypot(0.1, CELL_M / np.sqrt(12.0)))
    assert coarse == pytest.approx(np.hypot(0.5, CELL_M / np.sqrt(12.0)))
