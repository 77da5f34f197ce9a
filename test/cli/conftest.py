import logging
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "io"))  # bag_maker, map_maker


@pytest.fixture(autouse=True)
def own_level():
    """Take back how much a command was told to log: tests of other rooms listen."""
    logger = logging.getLogger("seg2d3d_ros")
    before = logger.level
    yield
    logger.setLevel(before)
