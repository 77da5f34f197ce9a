import numpy as np
import pytest
from shapely import LineString, Polygon
from shapely.strtree import STRtree

from seg2d3d_ros.simulation import SimulationOptions, street
from seg2d3d_ros.simulation.facade import paint_facade
from seg2d3d_ros.simulation.route import Drive, plan
from seg2d3d_ros.simulation.street import SIDEWALK_M, build_street
from seg2d3d_ros.simulation.texture import choose_wall

ROUTES = [
    ("straight", 120.0),
    ("corner", 120.0),
    ("pivot", 120.0),
    ("loop", 320.0),
    ("out_and_back", 200.0),
]


@pytest.fixture
def plain(monkeypatch):
    """Make streets without painting their facades, which takes most of the time."""

    def blank(rng, size_m, look, window, px_per_m):
        return np.zeros((8, 8, 3), np.uint8), *choose_wall(rng, "lowtexture")

    monkeypatch.setattr(street, "paint_facade", blank)

    def make(**options):
        options = SimulationOptions(**{"texture_px_per_m": 4.0, **options})
        line, path = plan(options)
        return build_street(options, line), Drive(path, options)

    return make


def outlines(found):
    return [Polygon(b.footprint()) for b in found.buildings]


@pytest.mark.parametrize(("route", "length_m"), ROUTES)
@pytest.mark.parametrize("seed", [0, 1])
def test_build_street_houses_neither_overlap_nor_stand_on_the_road(plain, route, length_m, seed):
    found, drive = plain(route=route, length_m=length_m, seed=seed)
    houses = outlines(found)
    assert len(houses) > length_m / 10
    tree = STRtree(houses)
    for k, house in enumerate(houses):
        assert house.exterior.is_ccw
        for other in tree.query(house):
            assert other == k or house.intersection(houses[other]).area < 1e-6
    path = LineString([drive.pose(t)[:2, 3] for t in np.arange(0, drive.duration_s, 0.5)])
    # the middle of a lane is 3 m from the kerb, that of a turning circle 0.6 m
    least = (0.4 if route == "out_and_back" else 2.5) + SIDEWALK_M
    assert path.distance(houses[int(tree.nearest(path))]) > least


def test_build_street_sizes_lie_in_their_ranges(plain):
    found, _ = plain(length_m=300.0)
    for b in found.buildings:
        assert 7.0 <= b.width_m <= 15.0
        assert 5.0 <= b.eaves_m <= b.ridge_m <= 14.0


@pytest.mark.parametrize("abutting", [0.0, 0.7, 1.0])
def test_build_street_share_of_adjoining_houses_is_the_one_asked_for(plain, abutting):
    found, _ = plain(length_m=600.0, abutting=abutting)
    houses = outlines(found)
    pairs = list(zip(houses[:-1], houses[1:], strict=True))
    share = np.mean([a.distance(b) < 1e-6 for a, b in pairs])
    # about 110 pairs, some of them across the ends of rows
    assert share == pytest.approx(abutting, abs=0.15)


@pytest.mark.parametrize(("option", "class_id"), [("trees_per_100m", 21), ("parked_per_100m", 26)])
def test_build_street_furniture_follows_its_rate(plain, option, class_id):
    num = {}
    for rate in (0.0, 4.0, 8.0):
        options = {"route": "loop", "laps": 1.0, "moving_cars": 0, "abutting": 1.0, option: rate}
        found, _ = plain(length_m=600.0, **options)
        num[rate] = int((found.class_of == class_id).sum())
    # 1200 m of kerb, less the corners; 48 and 96 of them, less regular than Poisson
    assert num[0.0] == 0
    assert num[4.0] == pytest.approx(48, rel=0.3)
    assert num[8.0] == pytest.approx(96, rel=0.25)


def test_build_street_every_building_is_one_object(plain):
    found, _ = plain(length_m=60.0)
    owners = found.building_of[found.class_of == 11]
    assert list(owners) == [b.id for b in found.buildings] == list(range(1, len(owners) + 1))
    assert not found.building_of[found.class_of != 11].any()
    assert set(found.building_of[found.scene.object_id]) == {0, *owners}


def test_build_street_seeds_give_different_streets(plain):
    first, second = (plain(length_m=60.0, seed=s)[0] for s in (0, 1))
    assert [b.width_m for b in first.buildings[:5]] != [b.width_m for b in second.buildings[:5]]


@pytest.mark.parametrize("style", ["mixed", "brick", "plaster", "lowtexture"])
def test_paint_facade_every_house_is_different(style):
    rng = np.random.default_rng(0)
    window = street.draw_window_style(rng)
    fronts = [paint_facade(rng, (10.0, 8.0), style, window, 40.0)[0] for _ in range(4)]
    for a in range(4):
        for b in range(a):
            assert np.abs(fronts[a].astype(int) - fronts[b]).mean() > 4
    assert fronts[0].shape == (320, 400, 3)


def test_paint_facade_lowtexture_walls_are_smooth():
    rng = np.random.default_rng(0)
    detail = {}
    for style in ("brick", "lowtexture"):
        wall, colour = choose_wall(rng, style)
        surface = wall(rng, (200, 200), 40.0, colour)
        detail[style] = np.abs(np.diff(surface, axis=0)).mean()
    assert detail["lowtexture"] < 0.4 * detail["brick"]
