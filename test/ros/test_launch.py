"""Launch files and what they point to; run by the real `launch` where it is installed."""

import ast
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from seg2d3d_ros.nodes.params_file import render

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "launch").glob("*.launch.py"))


def calls(file, name):
    tree = ast.parse(file.read_text())
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name
    ]


def load(file):
    spec = importlib.util.spec_from_file_location(file.stem.replace(".", "_"), file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_launch_file_describes_every_argument(file):
    declared = calls(file, "DeclareLaunchArgument")
    assert len(declared) >= 4
    for call in declared:
        described = {k.arg: k.value for k in call.keywords}.get("description")
        assert described is not None, f"{call.args[0].value} has no description"
        assert len(ast.literal_eval(described)) > 10


def test_mapping_launch_sets_only_parameters_that_exist():
    tree = ast.parse((ROOT / "launch" / "mapping.launch.py").read_text())
    table = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "PARAMETERS"
    )
    parameters = [value.elts[0].value for value in table.values]
    known = yaml.safe_load(render())["/**"]["ros__parameters"]
    assert len(parameters) == 8
    for name in parameters:
        section, key = name.split(".")
        assert key in known[section], name
    arguments = {
        c.args[0].value for c in calls(ROOT / "launch/mapping.launch.py", "DeclareLaunchArgument")
    }
    assert {key.value for key in table.keys} <= arguments


def test_mapping_launch_gives_nodes_time_to_write_the_map():
    file = ROOT / "launch" / "mapping.launch.py"
    (node,) = calls(file, "LifecycleNode")
    given = {k.arg: ast.unparse(k.value) for k in node.keywords}
    assert given["sigterm_timeout"] == "argument('end_timeout_s')"
    declared = {c.args[0].value: c.keywords for c in calls(file, "DeclareLaunchArgument")}
    default = {k.arg: k.value for k in declared["end_timeout_s"]}["default_value"]
    assert float(ast.literal_eval(default)) >= 300.0


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_launch_file_is_understood_by_the_real_launch(file):
    launch = pytest.importorskip(
        "launch.launch_service", reason="launch is not installed (PyPI has none)"
    )
    pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed (PyPI has none)")
    module = load(file)
    service = launch.LaunchService(argv=[])
    assert service is not None
    names = [a.name for a in module.generate_launch_description().get_launch_arguments()]
    assert set(names) >= {c.args[0].value for c in calls(file, "DeclareLaunchArgument")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_launch_that_is_ending_is_not_ended_again(file):
    for name in ("launch.actions", "launch_ros.actions"):
        pytest.importorskip(name, reason=f"{name} is not installed (PyPI has none)")
    end_launch, event = load(file).end_launch, SimpleNamespace(process_name="clusters-2")
    assert end_launch(event, SimpleNamespace(is_shutdown=True)) is None
    ending = end_launch(event, SimpleNamespace(is_shutdown=False))
    assert "clusters-2" in ending.event.reason


@pytest.mark.parametrize("player", ["seg2d3d", "ros2"])
@pytest.mark.parametrize("stay", ["true", "false"])
def test_bag_launch_ends_or_stays_and_has_no_handler_that_does_nothing(player, stay):
    launch = pytest.importorskip("launch.actions", reason="launch is not installed")
    pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed (PyPI has none)")
    from launch.launch_context import LaunchContext

    context = LaunchContext()
    given = {"bag": "b", "rate": "1.0", "namespace": "", "player": player, "stay": stay}
    context.launch_configurations.update(given)
    made = load(ROOT / "launch/bag.launch.py").play_and_finish(context)
    handlers = [a.event_handler for a in made if isinstance(a, launch.RegisterEventHandler)]
    ends = {"true": 0, "false": 1}[stay]
    assert len(handlers) == ends + (player == "ros2")
    assert all(handler.describe() for handler in handlers)


@pytest.mark.parametrize("respawn", ["true", "false"])
def test_mapping_launch_ends_with_the_nodes_that_do_not_come_again(respawn):
    launch = pytest.importorskip("launch.actions", reason="launch is not installed")
    pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed (PyPI has none)")
    from launch.launch_context import LaunchContext

    module, context = load(ROOT / "launch/mapping.launch.py"), LaunchContext()
    for argument in module.ARGUMENTS:
        if argument.name != "rviz_config":
            argument.execute(context)
    context.launch_configurations["respawn"] = respawn
    made = module.start_nodes(context)
    handlers = [a for a in made if isinstance(a, launch.RegisterEventHandler)]
    assert len(made) - len(handlers) == 3
    assert len(handlers) == {"true": 1, "false": 3}[respawn]


def test_rviz_configuration_shows_what_the_nodes_publish():
    shown = yaml.safe_load((ROOT / "config/rviz/mapping.rviz").read_text())[
        "Visualization Manager"
    ]
    durability = {
        d["Topic"]["Value"]: d["Topic"]["Durability Policy"]
        for d in shown["Displays"]
        if "Topic" in d
    }
    of_pictures = [topic for topic in durability if topic.startswith("/segmentation/")]
    assert of_pictures == ["/segmentation/camera_front_left/label_picture"]
    assert durability.pop(of_pictures[0]) == "Volatile"
    assert 'LABEL_PICTURE = "label_picture"' in (ROOT / "seg2d3d_ros/nodes/hearing.py").read_text()
    source = (ROOT / "seg2d3d_ros/nodes/map_output.py").read_text()
    for topic, policy in durability.items():
        name = topic.removeprefix("/mapping/")
        qos = "_LATCHED" if policy == "Transient Local" else "_UPDATES"
        assert f'"~/{name}", {qos})' in source, topic
    assert shown["Global Options"]["Fixed Frame"] == "map"
    # with a namespace the launch file leads RViz to the topics in it
    tree = ast.parse((ROOT / "launch/mapping.launch.py").read_text())
    remapped = next(
        [value.value for value in node.value.elts]
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "SHOWN"
    )
    assert {f"/{topic}" for topic in remapped} == set(durability)
