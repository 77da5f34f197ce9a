import dataclasses

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")

from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from seg2d3d_ros import config
from seg2d3d_ros.errors import ConfigError
from seg2d3d_ros.nodes.options import NodeOptions
from seg2d3d_ros.nodes.parameters import (
    declare_parameters,
    read_config,
    read_options,
)


@pytest.fixture
def declare(graph):
    """Return a node whose parameters are declared, some of them given."""
    nodes = []

    def make(**given):
        overrides = [Parameter(k.replace("__", "."), value=v) for k, v in given.items()]
        nodes.append(Node("parameters", parameter_overrides=overrides))
        declare_parameters(nodes[-1])
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def test_parameters_none_given_read_back_as_the_defaults(declare):
    node = declare()
    assert read_config(node) == config.Config()
    assert read_options(node) == NodeOptions()


def test_parameters_all_have_a_value_so_that_param_dump_shows_them(declare):
    node = declare()
    names = [*config.describe(), "node.autostart"]
    values = {p.name: p for p in node.get_parameters(names)}  # raises for one without a value
    assert values["inputs.cameras"].type_ == Parameter.Type.STRING_ARRAY
    assert values["inputs.cameras"].value == [] == read_config(node).inputs.cameras


def test_parameters_carry_help_and_range_of_the_dataclasses(declare):
    node = declare()
    for name, field in config.describe().items():
        told = node.describe_parameter(name)
        assert told.description == field.metadata["help"]
        ranges = [*told.integer_range, *told.floating_point_range]
        for bound, at in (("low", "from_value"), ("high", "to_value")):
            if field.metadata[bound] is not None:
                assert getattr(ranges[0], at) == field.metadata[bound]


def test_parameters_given_values_reach_the_configuration(declare):
    node = declare(
        inputs__cameras=["a", "b"], clusters__wait_s=2.5, segmentation__building_classes=[0, 11]
    )
    read = read_config(node)
    assert read.inputs.cameras == ["a", "b"]
    assert read.clusters.wait_s == 2.5
    assert read.segmentation.building_classes == [0, 11]


def test_parameters_whole_number_for_a_float_is_taken_as_in_a_replay(declare):
    assert read_config(declare(clusters__wait_s=3)).clusters.wait_s == 3.0


def test_parameters_unknown_key_is_an_error_that_names_the_nearest(declare):
    with pytest.raises(ConfigError, match=r"'clusters.wait'.*did you mean 'clusters.wait_s'"):
        declare(clusters__wait=1.0)


def test_parameters_value_out_of_range_is_refused(declare):
    with pytest.raises(InvalidParameterValueException, match="clusters.max_features"):
        declare(clusters__max_features=3)


def test_parameters_unknown_reliability_is_an_error(declare):
    with pytest.raises(ConfigError, match="must be auto, reliable or best_effort"):
        read_options(declare(node__image_reliability="maybe"))


def test_node_options_do_not_clash_with_the_configuration():
    sections = {field.name for field in dataclasses.fields(config.Config)}
    assert "node" not in sections
