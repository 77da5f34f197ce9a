"""Cameras that fall silent are told while others go on, and only then."""

import pytest

from seg2d3d_ros.nodes.silence import SilenceWatch


def drive(watch, seconds, start_s=0.0, **periods_s):
    """Let sensors send at their periods for a while; `odometry` is no camera."""
    arrivals = sorted(
        (start_s + k * period_s, name)
        for name, period_s in periods_s.items()
        for k in range(round(seconds / period_s))
    )
    return [
        (name, round(watch.hear(name, at_s), 3))
        for at_s, name in arrivals
        if name != "odometry" or watch.go_on(at_s)
    ]


@pytest.mark.parametrize("other", ["right", "odometry"])
def test_camera_that_sends_nothing_while_others_go_on_is_told_once_with_its_seconds(other):
    watch = SilenceWatch(2.0)
    drive(watch, 5.0, left=0.1, **{other: 0.1})
    drive(watch, 1.9, 5.0, **{other: 0.1})
    assert watch.fall_silent() == []
    drive(watch, 1.1, 6.9, **{other: 0.1})
    assert watch.fall_silent() == ["left"]
    assert watch.fall_silent() == []
    assert watch.silent() == {"left": pytest.approx(3.0)}


def test_camera_that_is_back_says_how_long_it_was_silent_and_may_fall_silent_again():
    watch = SilenceWatch(2.0)
    drive(watch, 5.0, left=0.1, right=0.1)
    drive(watch, 5.0, 5.0, right=0.1)
    assert watch.fall_silent() == ["left"]
    heard = drive(watch, 5.0, 10.0, left=0.1, right=0.1)
    assert [h for h in heard if h[1]] == [("left", 5.1)]
    assert (watch.silent(), watch.fall_silent()) == ({}, [])
    drive(watch, 5.0, 15.0, right=0.1)
    assert watch.fall_silent() == ["left"]


def test_end_of_everything_is_no_silence():
    watch = SilenceWatch(2.0)
    drive(watch, 5.0, left=0.1, right=0.1, odometry=0.05)
    assert watch.fall_silent() == []
    drive(watch, 1.0, 900.0, left=0.1, right=0.1)  # a player that waited goes on
    assert watch.fall_silent() == []


def test_slow_camera_is_told_only_when_it_is_late_for_itself():
    watch = SilenceWatch(2.0)
    drive(watch, 30.0, left=3.0, right=0.1)
    drive(watch, 13.0, 30.0, right=0.1)  # five times its three seconds are over at 42
    assert watch.fall_silent() == ["left"]
    other = SilenceWatch(2.0)
    drive(other, 30.0, left=3.0, right=0.1)
    drive(other, 11.0, 30.0, right=0.1)
    assert other.fall_silent() == []


def test_watch_that_is_switched_off_tells_nothing():
    watch = SilenceWatch(0.0)
    drive(watch, 5.0, left=0.1, right=0.1)
    drive(watch, 500.0, 5.0, right=0.1)
    assert watch.fall_silent() == [] and watch.silent() == {}
