import dataclasses

import cv2
import drive_maker
import numpy as np
import pytest

from seg2d3d_ros.simulation.drawn.ortho import (
    OrthoOptions,
    draw_ortho,
    draw_overlays,
    draw_top_view,
    make_orthos,
)

MAGENTA = (255, 0, 255)
OPTIONS = OrthoOptions(px_per_m=10.0, height_m=9.0)


@pytest.fixture(scope="module")
def orthos(survey, drawing):
    return make_orthos(survey, drawing, OPTIONS)


def split_m(ortho, up_m, left_bgr, right_bgr):
    """Return where the colour of one house turns into that of the next, metres along the line."""
    row = ortho.image()[round((OPTIONS.height_m - up_m) * OPTIONS.px_per_m)]
    is_left, is_right = ((np.abs(row - bgr) < 10).all(axis=1) for bgr in (left_bgr, right_bgr))
    last, first = np.flatnonzero(is_left)[-1] + 1, np.flatnonzero(is_right)[0]
    assert last - first <= 2  # nothing of the left house right of the right one
    return 0.5 * (last + first) / OPTIONS.px_per_m


def test_ortho_shows_the_split_where_it_is(orthos):
    # a picture resolves the wall to 0.1 m there, its pose is good to 0.03 m
    left = split_m(orthos["left side"], 3.0, drive_maker.BGR[1], drive_maker.BGR[2])
    right = split_m(orthos["right/side"], 3.0, drive_maker.BGR[3], drive_maker.BGR[4])
    assert left == pytest.approx(26.0, abs=0.25)
    assert right == pytest.approx(34.0, abs=0.25)


def test_ortho_shows_the_roof_line_where_it_is(orthos):
    ortho = orthos["right/side"]
    column = ortho.image()[:, round(30 * OPTIONS.px_per_m)]  # clear of the tree
    is_house = (np.abs(column - drive_maker.BGR[3]) < 10).all(axis=1)
    top_m = OPTIONS.height_m - np.flatnonzero(is_house)[0] / OPTIONS.px_per_m
    assert top_m == pytest.approx(7.0, abs=0.25)


def test_ortho_what_no_picture_shows_is_magenta(orthos):
    ortho = orthos["left side"]  # its first metres lie behind the cameras
    image = ortho.image()
    assert (image[:, :60] == MAGENTA).all()
    share = 1 - (image == MAGENTA).all(axis=2).mean()
    assert ortho.share_seen == pytest.approx(share, abs=1e-9)


def test_ortho_half_the_pictures_black_the_median_is_not_them_alone(survey, drawing):
    # one odd picture out of many must not show: it takes one place of five
    class Source:
        rig = survey.source.rig

        def __iter__(self):
            for k, item in enumerate(survey.source):
                if hasattr(item, "image") and k % 5 == 0:
                    yield dataclasses.replace(item, image=np.zeros_like(item.image))
                else:
                    yield item

    odd = make_orthos(dataclasses.replace(survey, source=Source()), drawing, OPTIONS)
    image = odd["left side"].image()[40, 200:400]
    assert (image.sum(axis=1) == 0).mean() < 0.02


def test_drawings_are_written_with_what_they_show(tmp_path, survey, drawing, orthos):
    draw_top_view(tmp_path / "top.png", survey, drawing)
    draw_ortho(tmp_path / "facade.png", orthos["left side"])
    for name in ("top.png", "facade.png"):
        image = cv2.imread(str(tmp_path / name))
        assert min(image.shape[:2]) > 200
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20
    plain = tmp_path / "plain.png"
    draw_top_view(plain, survey, None)
    assert (cv2.imread(str(plain)) != cv2.imread(str(tmp_path / "top.png"))).any()


def test_overlays_of_each_nth_picture_tint_houses_and_leave_the_rest(tmp_path, survey, drawing):
    num = draw_overlays(tmp_path, survey, drawing, every=8)
    files = sorted(tmp_path.glob("overlay_*.jpg"))
    assert num == len(files) == 2 * drive_maker.NUM_PICTURES / 8
    frame = next(f for f, _ in survey.frames())
    image = cv2.imread(str(tmp_path / f"overlay_{frame.camera}_00000.jpg")).astype(int)
    change = np.abs(image - frame.image).max(axis=2)
    is_sky = (frame.image == (250, 240, 230)).all(axis=2)
    is_house = (frame.image == drive_maker.BGR[1]).all(axis=2)
    assert np.median(change[is_house]) > 30 > 5 > np.median(change[is_sky])
