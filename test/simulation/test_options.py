import pytest

from seg2d3d_ros.errors import ConfigError
from seg2d3d_ros.simulation import SimulationOptions


def test_options_unknown_choice_names_the_choices():
    with pytest.raises(
        ConfigError, match="straight, corner, pivot, loop, out_and_back, both_ways"
    ):
        SimulationOptions(route="spiral")


@pytest.mark.parametrize(
    ("field", "value"), [("dropped", 1.5), ("length_m", 2.0), ("seed", 1.5), ("labels", "yes")]
)
def test_options_bad_value_names_field_and_value(field, value):
    with pytest.raises(ConfigError, match=f"'{field}' is '?{value}"):
        SimulationOptions(**{field: value})


@pytest.mark.parametrize("cameras", ["front,front", "front_up", "front,", "stereo,front"])
def test_options_impossible_cameras_are_refused(cameras):
    with pytest.raises(ConfigError, match=r"cameras is .* needed is one of front, stereo"):
        SimulationOptions(cameras=cameras)


def test_options_whole_number_for_a_length_is_accepted():
    assert SimulationOptions(length_m=40).length_m == 40
