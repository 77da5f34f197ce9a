"""The map from above and the report: what they show, not how pretty they are."""

import dataclasses
import html.parser
import math
import re

import cv2
import numpy as np
import pytest
from map_maker import loop_path, make_map, make_report

from seg2d3d_ros.accounts import FrameCounts
from seg2d3d_ros.io.map_picture import draw_map, path_length_m, round_length
from seg2d3d_ros.io.palette import instance_color_rgb
from seg2d3d_ros.io.report import FILES, render_report
from seg2d3d_ros.types import InstanceState


def decode(png):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), 4)


def pixels_of(image, rgb):
    return np.argwhere((np.abs(image.astype(int) - rgb).sum(axis=2)) < 12)


def test_draw_map_shows_every_instance_in_its_colour():
    full = make_map()
    image = decode(draw_map(full))
    for instance in full.instances:
        assert len(pixels_of(image, instance_color_rgb(instance.id))) > 100


def test_draw_map_fills_outlines_only_where_they_are_certain():
    full = make_map()

    def fill(sigma_m):
        instances = tuple(
            dataclasses.replace(i, footprint_sigma_m=sigma_m) for i in full.instances
        )
        picture = decode(draw_map(dataclasses.replace(full, instances=instances)))
        pale = 255 - 0.22 * (255 - np.array(instance_color_rgb(1)))
        return len(pixels_of(picture, pale))

    certain = fill(0.2)
    assert certain > 1000
    assert fill(2.5) < 0.05 * certain
    assert fill(math.inf) == fill(2.5)


def test_draw_map_east_is_right_and_north_is_up():
    full = make_map()
    image = decode(draw_map(full))
    center = {
        i: pixels_of(image, instance_color_rgb(i)).mean(axis=0) for i in (1, 2, 7)
    }  # 1 is left of the start, 2 right of it, 7 left near the end
    assert center[1][0] < center[2][0]
    assert center[1][1] < center[7][1] - 500


def test_draw_map_long_title_on_a_narrow_picture_leaves_the_scale_bar_free():
    full = make_map()
    T_map_base = full.trajectory.T_map_base.copy()
    T_map_base[:, 1, 3] = 5.0 * T_map_base[:, 0, 3]
    T_map_base[:, 0, 3] = 0.0
    trajectory = dataclasses.replace(full.trajectory, T_map_base=T_map_base)
    full = dataclasses.replace(full, trajectory=trajectory, instances=())
    short, long = (decode(draw_map(full, title))[:60] for title in ("", 80 * "m"))
    assert short.shape[1] < 1000
    inked = np.flatnonzero((short < 128).all(axis=2).any(axis=0))
    gap = np.argmax(np.diff(inked))  # behind the caption; then come the scale and its bar
    assert np.diff(inked)[gap] > 60
    changed = np.flatnonzero((short != long).any(axis=(0, 2)))
    assert inked[gap] < changed.max() < inked[gap + 1]


def test_draw_map_same_map_gives_same_bytes():
    assert draw_map(make_map(), "t") == draw_map(make_map(), "t")


def test_draw_map_shows_a_certain_instance_far_beyond_the_end_whole_and_an_uncertain_one_not():
    full = make_map()
    end = full.trajectory.T_map_base[-1, :3, 3]
    beyond = dataclasses.replace(
        full.instances[0],
        id=30,
        box_center_map=end + [60.0, 0.0, 0.0],
        footprint_map=end[:2] + [60.0, 0.0] + [[-4.0, -4.0], [4.0, -4.0], [4.0, 4.0], [-4.0, 4.0]],
    )

    def drawn(sigma_m):
        more = (dataclasses.replace(beyond, footprint_sigma_m=sigma_m), *full.instances)
        image = decode(draw_map(dataclasses.replace(full, instances=more)))
        found = pixels_of(image, instance_color_rgb(30))
        return np.ptp(found, axis=0) if len(found) else None

    rows, columns = drawn(0.3)
    assert abs(rows - columns) <= 2 and rows > 20  # a square, all of it
    assert drawn(3.0) is None


def test_draw_map_of_points_above_each_other_the_highest_is_seen():
    full = make_map()
    cloud = full.cloud
    below = {
        **vars(cloud),
        "points_map": cloud.points_map - [0.0, 0.0, 1.0],
        "instances": np.where(cloud.instances == 1, 2, cloud.instances),
    }
    fields = {n: np.concatenate([v, getattr(cloud, n)]) for n, v in below.items()}
    both = dataclasses.replace(full, cloud=dataclasses.replace(cloud, **fields))
    more = decode(draw_map(both))
    less = decode(draw_map(full))
    caption = len(more) // 10  # it says how many points there are
    np.testing.assert_array_equal(more[caption:], less[caption:])


def test_draw_map_far_outliers_do_not_shrink_the_street():
    full = make_map()
    points = full.cloud.points_map.copy()
    points[-5:] = [[5000, 5000, 0], [-9000, 0, 0], [0, 1e6, 0], [np.nan] * 3, [np.inf, 0, 0]]
    spoilt = dataclasses.replace(full, cloud=dataclasses.replace(full.cloud, points_map=points))
    color = instance_color_rgb(1)
    before = len(pixels_of(decode(draw_map(full)), color))
    assert len(pixels_of(decode(draw_map(spoilt)), color)) > 0.8 * before


@pytest.mark.parametrize("length_m", [60.0, 1400.0])
def test_draw_map_loop_fills_the_picture(length_m):
    image = decode(draw_map(make_map(loop_path(length_m), georeferenced=False)))
    ink = np.argwhere((image < 200).any(axis=2))
    extent = ink.max(axis=0) - ink.min(axis=0)
    assert (extent > 0.8 * np.array(image.shape[:2])).all()
    assert max(image.shape) < 2500


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1.0, 1), (1.99, 1), (2.0, 2), (9.9, 5), (14, 10), (0.3, 0.2), (640, 500)],
)
def test_round_length_is_the_largest_one_two_five_below(most, expected):
    assert round_length(most) == pytest.approx(expected)


def test_path_length_of_a_straight_drive():
    # 59 steps of one metre in x with a slope of 0.02
    assert path_length_m(make_map()) == pytest.approx(59 * np.hypot(1, 0.02))


class _Checker(html.parser.HTMLParser):
    """Collects what a page refers to, and holds that its tags are balanced."""

    VOID = {"meta", "img", "br", "link", "input", "hr"}

    def __init__(self):
        super().__init__()
        self.references, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.references += [v for k, v in attrs if k in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page():
    full = make_map()
    text = render_report(full, make_report(), draw_map(full))
    checker = _Checker()
    checker.feed(text)
    return text, checker


def test_report_refers_to_nothing_outside_and_is_balanced(page):
    text, checker = page
    assert checker.open == []
    files = [r for r in checker.references if not r.startswith("data:image/")]
    assert files == list(FILES)
    assert "<script" not in text and "http" not in text


def test_report_shows_map_and_a_picture_of_each_instance(page):
    _, checker = page
    assert sum(r.startswith("data:image/png") for r in checker.references) == 1
    assert sum(r.startswith("data:image/jpeg") for r in checker.references) == 8


def test_report_says_what_came_in_and_why_pictures_were_dropped(page):
    said = re.sub(r"\s+", " ", " ".join(page[1].text))
    for words in (
        "camera_front 60 57",
        "2 bad_size (the picture's bytes do not fit its stated size)",
        "1 stamp_back",
        "2 without masks",
        "odometry is read from /odom",
        "Georeferenced",
        "Of 30 masks of class building, 20 (67 %) show an instance",
        "Recorded from 2023-11-14 22:13:20 UTC on",
    ):
        assert words in said


def test_report_says_how_sure_it_is_of_each_instance():
    full = make_map()
    first, *others = full.instances
    unsure = dataclasses.replace(
        first, sigma_m=0.3149, footprint_sigma_m=math.inf, state=InstanceState.TENTATIVE
    )
    full = dataclasses.replace(full, instances=(unsure, *others))
    said = render_report(full, make_report(), b"")
    row = said.split(f'<tr id="instance-{first.id}">')[1].split("</tr>")[0]
    assert "tentative" in row and "0.31; –" in row


def test_report_says_hundred_per_cent_only_of_all():
    for processed, told in ((1000, "100 %"), (999, "&gt;99 %"), (994, "99 %")):
        frames = {"camera_front": FrameCounts(1000, processed, {"bad_size": 1000 - processed})}
        said = render_report(make_map(), make_report(frames=frames), b"")
        assert f"<b>{told}</b><span>of 1000 pictures used" in said


def test_report_calls_instances_what_the_masks_are_of():
    full = make_map()
    report = make_report(classes={0: "structure", 11: "building"})

    def told(*class_ids):
        instances = tuple(
            dataclasses.replace(full.instances[k], class_id=c) for k, c in enumerate(class_ids)
        )
        page = render_report(dataclasses.replace(full, instances=instances), report, b"")
        return re.search(r"every (.+) is an instance", page)[1]

    assert told(0, 0) == "structure"
    assert told(11, 0) == "building or structure"
    assert told() == "building"


def test_report_of_a_clock_that_starts_at_zero_gives_no_date():
    full = make_map()
    since_start = full.trajectory.stamps_ns - full.trajectory.stamps_ns[0]
    shifted = dataclasses.replace(full.trajectory, stamps_ns=since_start)
    said = render_report(dataclasses.replace(full, trajectory=shifted), make_report(), b"")
    assert "Recorded" not in said and "1970" not in said


def test_report_of_unknown_scale_says_so_and_escapes_names():
    full = make_map(georeferenced=False, scale="unknown")
    text = render_report(full, make_report(source="<b>&drive"), b"")
    assert "The scale is unknown" in text and "&lt;b&gt;&amp;drive" in text
    assert "<b>&drive" not in text
