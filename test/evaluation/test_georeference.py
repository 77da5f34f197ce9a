import numpy as np
import pytest

from seg2d3d_ros.evaluation.georeference import between_origins
from seg2d3d_ros.types import Origin


def test_between_origins_same_origin_is_identity() -> None:
    here = Origin(49.0, 8.4, 115.0)
    assert between_origins(here, here) == pytest.approx(np.eye(4), abs=1e-8)


def test_between_origins_a_step_north_and_up_lies_there() -> None:
    here = Origin(49.0, 8.4, 115.0)
    # One second of arc of latitude is 30.9 m here.
    T = between_origins(here, Origin(49.0 + 1 / 3600, 8.4, 120.0))
    assert T[:3, 3] == pytest.approx([0, 30.9, 5.0], abs=0.02)
