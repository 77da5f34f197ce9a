import numpy as np
import pytest
from test_filling import FOCAL_PX, LABEL, OTHER, SIZE, mask_of, street
from test_tracks import names

from seg2d3d_ros.geometry import cameras, masks, transforms
from seg2d3d_ros.mapping.surface.side_edges import EdgeFinder, Sightings, triangulate_edge

# The vehicle drives 18 m along x; a corner stands 40 m ahead of where it ends, 10 m to the side.
CORNER = np.array([58.0, 10.0])
WAY = np.linspace(0.0, 18.0, 30)


def seen(corner=CORNER, way=WAY, noise_px=0.0, seed=0):
    """How masks end at a corner, seen from a way along x."""
    rng = np.random.default_rng(seed)
    centers = np.c_[way, np.zeros(len(way)), np.full(len(way), 1.6)]
    angle = np.arctan2(*(corner - centers[:, :2]).T[::-1])
    angle = angle + noise_px / FOCAL_PX * rng.standard_normal(len(way))
    rays = np.c_[np.cos(angle), np.sin(angle)]
    num = len(way)
    return Sightings(centers, rays, rays, np.zeros((num, 2)), np.full(num, FOCAL_PX))


def mixed(*parts):
    """The sightings of several corners as if they were of one."""
    columns = [vars(p) for p in parts]
    return Sightings(**{n: np.concatenate([c[n] for c in columns]) for n in columns[0]})


def test_triangulate_edge_without_noise_is_exact():
    edge = triangulate_edge(seen(), is_left=False)
    np.testing.assert_allclose(edge.xy, CORNER, atol=1e-6)
    assert not edge.is_left
    assert len(edge.seen.rays) == len(WAY)


@pytest.mark.parametrize("seed", range(5))
def test_triangulate_edge_errs_as_its_covariance_says(seed):
    edge = triangulate_edge(seen(noise_px=1.0, seed=seed), is_left=True)
    error = edge.xy - CORNER
    # two unknowns: 4 sigma hold in 9997 of 10,000 cases
    assert error @ np.linalg.solve(edge.covariance, error) < 16.0
    # a pixel is 0.12 m there, 30 pictures see it: beside the way it is known ten times as well
    sigma = np.sqrt(np.diag(edge.covariance))
    assert sigma[1] < 0.3 < sigma[0] < 2.5


def test_triangulate_edge_a_fifth_of_other_corners_do_no_harm():
    stray = seen(corner=np.array([40.0, 14.0]), way=WAY[::4])
    edge = triangulate_edge(mixed(seen(noise_px=0.5), stray), is_left=True)
    assert abs(edge.xy[1] - CORNER[1]) < 0.4
    assert len(edge.seen.rays) <= len(WAY) + 1


def test_triangulate_edge_where_two_corners_take_turns_is_none():
    other = seen(corner=np.array([40.0, 14.0]), way=WAY[::2])
    assert triangulate_edge(mixed(seen(way=WAY[1::2]), other), is_left=True) is None


def test_triangulate_edge_of_a_ragged_outline_is_none():
    assert triangulate_edge(seen(noise_px=2.5), is_left=True) is None
    assert triangulate_edge(seen(noise_px=0.5), is_left=True) is not None


@pytest.mark.parametrize("way", [WAY[:7], np.full(30, 3.0), np.linspace(0.0, 0.2, 30)])
def test_triangulate_edge_seen_too_rarely_or_from_one_place_is_none(way):
    assert triangulate_edge(seen(way=way), is_left=True) is None


def drive(x0=3.0, x1=9.0, num=12, step_m=0.75, label=LABEL, eaves_px=0):
    """Pictures of a wall from x0 to x1 at y = 0, seen from 10 m away, each one a little further.

    Eaves hang over it by some pixels in the upper fifth of its masks.
    """
    state = street(*[()] * num)
    camera = state.cameras[0]
    for k, frame in enumerate(state.frames):
        frame.T_world_base = transforms.rigid(np.eye(3), [step_m * k, -10.0, 3.0])
        T_cam_world = transforms.invert(frame.T_world_base @ camera.T_base_cam)
        corners = np.array([[x, 0.0, z] for x in (x0, x1) for z in (1.0, 6.0)])
        uv = cameras.project(camera, transforms.apply(T_cam_world, corners))[0]
        (left, top), (right, bottom) = np.rint(uv.min(axis=0)), np.rint(uv.max(axis=0))
        columns, rows = _inside(left, right, SIZE[0]), _inside(top, bottom, SIZE[1])
        mask = mask_of(label, columns, rows)
        if eaves_px:
            mask = with_eaves(mask, columns, rows, eaves_px)
        frame.held.masks[0] = (mask,)
    return state


def _inside(low, high, size):
    return max(int(low), 0), min(int(high), size - 1) + 1


def with_eaves(mask, columns, rows, eaves_px):
    roof = mask_of(mask.label, (columns[0], columns[1] + eaves_px), (rows[0], rows[0] + 20))
    w, h = SIZE
    both = masks.decode(mask.bbox_px, mask.runs, (h, w)) | masks.decode(
        roof.bbox_px, roof.runs, (h, w)
    )
    return type(mask)(mask.label, mask.class_id, 1.0, *masks.encode(both))


@pytest.mark.parametrize("eaves_px", [0, 15])
def test_edge_finder_finds_both_ends_of_a_wall_below_its_eaves(eaves_px):
    state = drive(eaves_px=eaves_px)
    right, left = EdgeFinder(state, names(state)).beside([])[7]
    assert (left.is_left, right.is_left) == (True, False)
    # masks are whole pixels wide, of which half of one is missed: 0.013 m at 10 m
    np.testing.assert_allclose(left.xy, [3.0, 0.0], atol=0.1)
    np.testing.assert_allclose(right.xy, [9.0, 0.0], atol=0.1)


def test_edge_finder_by_the_outermost_pixel_where_something_hides_most_rows():
    state = drive()
    w, h = SIZE
    for frame in state.frames[::2]:
        (mask,) = frame.held.masks[0]
        left, top, right, bottom = mask.bbox_px
        picture = masks.decode(mask.bbox_px, mask.runs, (h, w))
        picture[top + 25 :, right - 60 : right] = False
        frame.held.masks[0] = (type(mask)(LABEL, 11, 1.0, *masks.encode(picture)),)
    right_edge, left_edge = EdgeFinder(state, names(state)).beside([])[7]
    np.testing.assert_allclose(left_edge.xy, [3.0, 0.0], atol=0.1)
    np.testing.assert_allclose(right_edge.xy, [9.0, 0.0], atol=0.1)


def test_edge_finder_ends_at_the_border_of_the_picture_are_no_edges():
    # so long a wall that one side or the other is always cut off
    state = drive(x0=-30.0, x1=9.0)
    (only,) = EdgeFinder(state, names(state)).beside([])[7]
    assert not only.is_left


def test_edge_finder_leaves_out_what_is_known_unnamed_or_seen_too_rarely():
    state = drive()
    assert EdgeFinder(state, names(state)).beside([7]) == {}
    assert EdgeFinder(state, names(state, {LABEL: 0})).beside([]) == {}
    assert EdgeFinder(state, names(state, {LABEL: 0, OTHER: 8})).beside([]) == {}
    few = drive(num=7)
    assert EdgeFinder(few, names(few)).beside([]) == {}
