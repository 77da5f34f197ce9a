import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # drive_maker

import drive_maker

from seg2d3d_ros.simulation.drawn.drawing import read_drawing
from seg2d3d_ros.simulation.drawn.survey import survey_kitti


@pytest.fixture(scope="session")
def drive(tmp_path_factory):
    """Return the folder of a drive whose oxts are exact."""
    return drive_maker.write_drive(tmp_path_factory.mktemp("drive"))


@pytest.fixture(scope="session")
def survey(drive):
    return survey_kitti(drive, drive_maker.ORIGIN)


@pytest.fixture(scope="session")
def drawing(tmp_path_factory):
    path = drive_maker.write_drawing(tmp_path_factory.mktemp("drawing") / "drawing.json")
    return read_drawing(path)
