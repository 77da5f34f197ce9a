"""What tests of several rooms share: a drive, tiny weights, a ROS 2 domain of one's own."""

import os
import shutil
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent / "segmentation"))  # tiny_weights
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # random_weights
sys.path.append(str(Path(__file__).parent))  # full_disk, read_messages, small_stage


@pytest.fixture(scope="session")
def drive(tmp_path_factory):
    """A simulated drive with two cameras and labels: `bag` and `truth` in one folder."""
    from seg2d3d_ros.simulation import SimulationOptions, simulate

    folder = tmp_path_factory.mktemp("street") / "drive"
    options = SimulationOptions(
        seed=3, length_m=30.0, width_px=384, height_px=224, trees_per_100m=2.0, moving_cars=0
    )
    simulate(options, folder, lambda done, total: None)
    return folder


@pytest.fixture(scope="session")
def torch():
    module = pytest.importorskip("torch", reason="the models extra is not installed")
    pytest.importorskip("transformers", reason="the models extra is not installed")
    module.set_num_threads(1)
    return module


@pytest.fixture(scope="session")
def weights(torch, tmp_path_factory):
    """A folder with tiny weights of every network backend and the manifest that names them."""
    from tiny_weights import save_weights

    folder = tmp_path_factory.mktemp("weights")
    save_weights(folder)
    return folder


@pytest.fixture
def slow_backend(tmp_path, monkeypatch):
    """Install the package of the backend `slow`; return a call that reads its diary by lines."""
    site, diary = tmp_path / "site", tmp_path / "diary.txt"
    about = site / "slow_backend-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-backend\nVersion: 1.0\n")
    group = "seg2d3d_ros.segmentation_backends"
    (about / "entry_points.txt").write_text(f"[{group}]\nslow = slow_backend:create\n")
    shutil.copy(Path(__file__).parent / "segmentation" / "slow_backend.py", site)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    monkeypatch.setenv("SLOW_BACKEND_DIARY", str(diary))
    monkeypatch.setenv("SLOW_BACKEND_S", "0.1")
    return lambda: diary.read_text().splitlines() if diary.exists() else []


@pytest.fixture(scope="session")
def ros_domain():
    """Keep the graph of this test process to itself, also from other workers and users."""
    pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")
    pytest.importorskip("seg2d3d_ros.msg", reason="the messages are not built: make setup")
    before = dict(os.environ)
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def graph(ros_domain):
    """Take part in the graph with rclpy."""
    from seg2d3d_ros.nodes.graph import ros_graph

    with ros_graph():
        yield
