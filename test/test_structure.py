"""The laws of the house: who may import whom, and what must not be loaded or done where."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "seg2d3d_ros"
STAGES = {"segmentation", "clusters", "mapping"}
# bottom to top: a room imports only what stands below it
BELOW = {
    "types": set(),
    "errors": set(),
    "config": {"types", "errors"},
    "stage_process": {"types", "errors"},
    "accounts": {"types"},
    "geometry": {"types", "errors", "config"},
}
for _stage in STAGES:
    BELOW[_stage] = BELOW["geometry"] | {"geometry"}
BELOW["mapping_host"] = BELOW["mapping"] | {"mapping", "stage_process"}
BELOW["depth_host"] = BELOW["clusters"] | {"clusters", "stage_process"}
BELOW["pipeline"] = BELOW["mapping_host"] | {"mapping_host", "depth_host", "accounts"} | STAGES
BELOW["io"] = BELOW["pipeline"] | {"pipeline"}
for _room in ("simulation", "evaluation"):
    BELOW[_room] = BELOW["io"] | {"io"}
BELOW["nodes"] = BELOW["io"] | {"io", "simulation", "evaluation"}
BELOW["cli"] = BELOW["nodes"] | {"nodes"}
# the folders of mapping, and the modules beside them that stand on top; all others on the bottom
OF_MAPPING = {
    "refinement": set(),
    "masks": set(),
    "surface": set(),
    "loops": {"refinement"},
    "placing": {"refinement"},
    "association": {"masks"},
    "naming": {"masks", "association"},
    "instances": {"masks", "surface", "association", "naming"},
    "paper": {"association", "naming", "instances"},
    "presets": {"association", "instances", "paper"},
    "publication": {"surface", "placing", "association", "instances"},
    "stage": {"refinement", "surface", "loops", "placing", "association", "instances", "presets"}
    | {"publication"},
}
# these make or speak to the ROS graph; every other command runs without ROS
COMMANDS_WITH_NODES = {"play", "live", "demo", "doctor"}
INTERFACES = {"msg", "srv"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path):
    """Return the room a file of the package belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def nodes(path):
    """Return all nodes of a file's syntax."""
    return list(ast.walk(ast.parse(path.read_text())))


@functools.cache
def imports(path):
    """Return all imported modules of a file, absolute, wherever in it, in the order of lines."""
    found = []
    package = ["seg2d3d_ros", *path.relative_to(PACKAGE).parts[:-1]]
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.append((node.lineno, module))
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return sorted(found)


def own(path):
    """Return the rooms of the package that a file imports."""
    parts = [name.split(".") for _, name in imports(path)]
    rooms = {p[1] for p in parts if p[0] == "seg2d3d_ros" and len(p) > 1}
    return rooms - {room(path), "__version__"}


def tops(path):
    """Return the top-level packages that a file imports."""
    return {name.split(".")[0] for _, name in imports(path)}


def relative(path):
    return str(path.relative_to(PACKAGE))


def test_walk_finds_the_package():
    rooms = {room(p) for p in FILES} - {"__init__", "__main__"}
    assert rooms <= set(BELOW), f"rooms that no law speaks of: {rooms - set(BELOW)}"
    assert STAGES | {"geometry", "pipeline", "io", "nodes", "cli"} <= rooms
    assert own(PACKAGE / "pipeline.py") >= STAGES


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_point_downwards(path):
    allowed = BELOW.get(room(path), set())
    if room(path) == "nodes":
        allowed = allowed | INTERFACES
    assert own(path) <= allowed, f"{relative(path)} imports {own(path) - allowed}"


def test_folders_of_mapping_import_downwards():
    inside = [p for p in FILES if room(p) == "mapping"]
    found = {p: p.relative_to(PACKAGE / "mapping").parts[0].removesuffix(".py") for p in inside}
    assert set(OF_MAPPING) <= set(found.values())
    for path, own_folder in found.items():
        parts = [name.split(".") for _, name in imports(path)]
        inner = {p[2] for p in parts if p[:2] == ["seg2d3d_ros", "mapping"] and len(p) > 2}
        above = inner & set(OF_MAPPING) - {own_folder} - OF_MAPPING.get(own_folder, set())
        assert not above, f"{relative(path)} imports {above}"


def test_stages_never_import_each_other():
    for path in FILES:
        if room(path) in STAGES:
            assert not own(path) & STAGES, relative(path)


def test_only_nodes_import_ros():
    ros = {"rclpy", "sensor_msgs", "nav_msgs", "geometry_msgs", "std_msgs", "std_srvs"}
    ros |= {"visualization_msgs", "diagnostic_msgs", "lifecycle_msgs", "tf2_msgs", "tf2_ros"}
    ros |= {"cv_bridge", "message_filters", "builtin_interfaces", "rosgraph_msgs"}
    for path in FILES:
        if room(path) != "nodes":
            assert not tops(path) & ros, f"{relative(path)} imports {tops(path) & ros}"


def test_only_commands_that_need_the_graph_import_nodes():
    found = {p.stem for p in FILES if room(p) == "cli" and "nodes" in own(p)}
    assert found <= COMMANDS_WITH_NODES


def test_only_the_command_line_prints_parses_arguments_or_shows_progress():
    for path in FILES:
        if room(path) == "cli":
            continue
        calls = [n.func for n in nodes(path) if isinstance(n, ast.Call)]
        printed = [f.id for f in calls if isinstance(f, ast.Name) and f.id in ("print", "input")]
        assert not printed, f"{relative(path)} prints"
        assert not tops(path) & {"argparse", "rich", "tqdm"}, relative(path)


def test_pycolmap_is_imported_below_cv2():
    num = 0
    for path in [*FILES, *sorted((ROOT / "benchmarks").rglob("*.py"))]:
        lines = path.read_text().splitlines()
        for k, line in enumerate(lines):
            if line.strip().startswith(("import pycolmap", "from pycolmap")):
                num += 1
                above = [
                    text.split()[1].split(".")[0]
                    for text in lines[:k]
                    if text.startswith(line[: len(line) - len(line.lstrip())])
                    and text.strip().startswith(("import ", "from "))
                ]
                assert "cv2" in above, f"{path}:{k + 1} imports pycolmap before cv2"
    assert num > 0


@pytest.mark.parametrize("module", ["pipeline", "io.rosbag", "io.result"])
def test_importing_what_streams_loads_nothing_that_only_mapping_needs(module):
    """A replay maps in another process; each of these would cost it a tenth of a second or two."""
    code = (
        f"import seg2d3d_ros.{module}, sys\n"
        "slow = {'scipy', 'gtsam', 'pycolmap', 'seg2d3d_ros.mapping.stage'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["pipeline", "io.sources", "io.result", "cli.main"])
def test_importing_the_library_loads_neither_ros_nor_torch(module):
    code = (
        f"import seg2d3d_ros.{module}, sys\n"
        "heavy = {'rclpy', 'torch', 'torchvision', 'transformers', 'open3d', 'gtsam'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
