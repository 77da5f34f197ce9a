"""Sums over masks by instance and stretch: what is renamed is counted anew, the rest stays."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from seg2d3d_ros.mapping.instances.instances import Support
from seg2d3d_ros.mapping.instances.supports import Supports
from seg2d3d_ros.mapping.state import BLOCK_FRAMES
from seg2d3d_ros.types import Mask, MaskAssignment

NUM_FRAMES = 3 * BLOCK_FRAMES
FAR, NEAR = 1, 2


class Frames:
    """Frames whose masks are counted when they are read."""

    def __init__(self):
        self.read = []
        rng = np.random.default_rng(4)
        self._masks = [
            {c: tuple(_mask(100 * c + k, rng) for k in range(2)) for c in range(2)}
            for _ in range(NUM_FRAMES)
        ]

    def __getitem__(self, k):
        self.read.append(k)
        return SimpleNamespace(masks=self._masks[k])


def _mask(label, rng):
    runs = np.array([0, int(rng.integers(1, 50))], dtype=np.uint32)
    vector = rng.normal(size=4).astype(np.float32)
    return Mask(label, 1, float(rng.uniform()), (0, 0, 9, 9), runs, vector, "model", b"jpeg")


@pytest.fixture
def state():
    return SimpleNamespace(frames=Frames(), cameras=[None, None])


def named(frame, camera, first, second):
    """The names of the two masks of a picture."""
    stamp_ns = 1_000 * frame + camera
    name = MaskAssignment(stamp_ns, f"camera{camera}", 100 * camera, first, 0.5, 3, 1)
    return [name, replace(name, label=name.label + 1, instance=second)]


@pytest.fixture
def names():
    return {(f, c): named(f, c, FAR, NEAR) for f in range(NUM_FRAMES) for c in range(2)}


def counted(state, names):
    out = Supports(state)
    for key in sorted(names):
        out.add(key, names[key])
    return out


def test_supports_of_stretches_add_up_to_those_of_all_masks(state, names):
    together = Support()
    for (f, c), of_picture in sorted(names.items()):
        mask = state.frames[f].masks[c][0]
        together.add(of_picture[0], mask, float(mask.runs[1] - mask.runs[0]))
    found, told = dict(vars(counted(state, names).of(FAR))), dict(vars(together))
    vectors = found.pop("embeddings"), told.pop("embeddings")
    np.testing.assert_allclose(vectors[0]["model"], vectors[1]["model"], rtol=1e-12)
    for key in ("score_sum", "classes", "embedding_weights"):
        assert found.pop(key) == pytest.approx(told.pop(key), rel=1e-12)
    assert found == told


def test_supports_after_a_change_of_names_equal_those_counted_from_scratch(state, names):
    supports = counted(state, names)
    other = {(5, 0): named(5, 0, NEAR, 3), (40, 1): named(40, 1, 0, FAR)}
    names.update(other)
    supports.count_again({FAR, NEAR, 3}, {5, 40}, names)
    fresh = counted(state, names)
    assert sorted(supports) == sorted(fresh) == [FAR, NEAR, 3]
    for instance in fresh:
        assert supports.frames_of([instance]) == fresh.frames_of([instance])
        ours, theirs = dict(vars(supports.of(instance))), dict(vars(fresh.of(instance)))
        np.testing.assert_allclose(
            ours.pop("embeddings")["model"], theirs.pop("embeddings")["model"], rtol=1e-12
        )
        assert ours["stamps"] == theirs["stamps"] and ours["num_masks"] == theirs["num_masks"]
        assert ours["score_sum"] == pytest.approx(theirs["score_sum"], rel=1e-12)
        assert ours["views"] == theirs["views"]


def test_supports_change_of_names_reads_the_masks_of_its_stretch_alone(state, names):
    supports = counted(state, names)
    state.frames.read.clear()
    names[5, 0] = named(5, 0, NEAR, NEAR)
    supports.count_again({FAR, NEAR}, {5}, names)
    assert set(state.frames.read) == set(range(BLOCK_FRAMES))


def test_supports_of_an_instance_that_lost_its_last_mask_are_none(state, names):
    supports = Supports(state)
    supports.add((0, 0), names[0, 0])
    names = {(0, 0): named(0, 0, NEAR, NEAR)}
    supports.count_again({FAR, NEAR}, {0}, names)
    assert list(supports) == [NEAR]
    assert supports.of(FAR) is None and supports.frames_of([FAR]) == set()
    assert supports.of(NEAR).num_masks == 2


def test_supports_instance_zero_is_nobody(state, names):
    supports = Supports(state)
    assert supports.add((0, 0), named(0, 0, 0, NEAR)) == {NEAR}
    assert list(supports) == [NEAR]
