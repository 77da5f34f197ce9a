import numpy as np
import pytest

from seg2d3d_ros.errors import BackendError, ConfigError
from seg2d3d_ros.segmentation.memory import MemoryLadder, Settings, is_out_of_memory
from seg2d3d_ros.types import Frame

TOP = Settings(4, "fp32", 1.0, "large", "cuda")
ALL_STEPS = ["batch", "half", "input", "model", "cpu"]


def make_ladder(steps, settings=TOP):
    return MemoryLadder(settings, steps, {"large": "small"}.get)


def test_ladder_all_steps_are_taken_in_the_configured_order_to_the_bottom():
    ladder = make_ladder(ALL_STEPS)
    while ladder.step_down():
        pass
    assert ladder.taken == ["batch", "batch", "half", "input", "input", "model", "cpu"]
    assert ladder.settings == Settings(1, "fp32", 0.5, "small", "cpu")
    assert not ladder.step_down()


def test_ladder_other_order_is_kept():
    ladder = make_ladder(["half", "batch"])
    while ladder.step_down():
        pass
    assert ladder.taken == ["half", "batch", "batch"]
    assert ladder.settings == Settings(1, "fp16", 1.0, "large", "cuda")


def test_ladder_on_the_processor_halving_precision_is_no_step():
    ladder = make_ladder(["half", "input"], Settings(1, "fp32", 1.0, "large", "cpu"))
    assert ladder.step_down()
    assert ladder.taken == ["input"]


def test_ladder_unknown_step_is_named():
    with pytest.raises(ConfigError, match="'pray'"):
        make_ladder(["batch", "pray"])


def test_ladder_stop_raises_where_it_stands():
    ladder = make_ladder(["batch", "stop", "half"])
    assert ladder.step_down() and ladder.step_down()
    with pytest.raises(BackendError, match=r"steps taken: batch, batch\)"):
        ladder.step_down()
    assert ladder.settings.precision == "fp32"


def test_ladder_stop_counts_on_the_processor_too():
    ladder = make_ladder(["cpu", "stop"], Settings(1, "fp32", 1.0, "large", "cpu"))
    with pytest.raises(BackendError, match="says to stop"):
        ladder.step_down()


def test_settings_smaller_batch_needs_no_rebuild():
    assert not Settings(1, "fp32", 1.0, "large", "cuda").needs_rebuild(TOP)
    assert Settings(4, "fp16", 1.0, "large", "cuda").needs_rebuild(TOP)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_is_out_of_memory_tells_shortages_from_other_errors(error, expected):
    assert is_out_of_memory(error) is expected


def test_is_out_of_memory_knows_torchs_own_error(torch):
    assert is_out_of_memory(torch.OutOfMemoryError("no room"))


class HungryPipeline:
    """Networks that need `cost` for each picture and have `room`; notes how it was asked."""

    def __init__(self, settings, room, log):
        self.settings, self.room, self.log = settings, room, log

    def run(self, pictures):
        from seg2d3d_ros.segmentation.networks.pipeline import Candidates

        self.log.append((len(pictures), self.settings.precision, self.settings.input_scale))
        cost = len(pictures) * self.settings.input_scale
        cost *= 1 if self.settings.precision == "fp32" else 0.5
        if cost > self.room:
            raise RuntimeError("CUDA out of memory.")
        mask = np.ones((1, *pictures.shape[-2:]), bool)
        one = Candidates(mask, np.zeros(1, int), np.ones(1, np.float32))
        return [one] * len(pictures)

    def set_prompt(self, prompt): ...

    def to(self, device): ...


@pytest.fixture
def hungry_backend(tiny_config, torch):
    from seg2d3d_ros.segmentation.network_backend import NetworkBackend

    def make(room, log=None, **options):
        log = [] if log is None else log
        config = tiny_config("grounded_sam2", **options)
        return NetworkBackend(
            "grounded_sam2", config, lambda model, settings, _: HungryPipeline(settings, room, log)
        )

    return make


FRAMES = [Frame("front", i, np.zeros((8, 8, 3), np.uint8)) for i in range(6)]


def test_backend_short_of_memory_halves_the_batch_once_and_finishes_every_picture(hungry_backend):
    log = []
    backend = hungry_backend(2.0, log, max_batch=4)
    assert all(masks is not None for masks in backend.segment(FRAMES))
    assert [num for num, _, _ in log] == [4, 2, 2, 2]
    assert backend.counts == {"out_of_memory": 1, "memory_step_batch": 1}
    backend.segment(FRAMES)
    assert backend.counts["out_of_memory"] == 1  # the smaller batch is kept


def test_backend_short_of_memory_makes_the_input_smaller(hungry_backend):
    log = []
    backend = hungry_backend(0.8, log, max_batch=1, memory_ladder=["batch", "input"])
    assert backend.segment(FRAMES[:1]) != [None]
    assert [scale for _, _, scale in log] == [1.0, 0.7]


def test_backend_at_the_bottom_of_the_ladder_fails_pictures_and_lives(hungry_backend):
    backend = hungry_backend(0.1, max_batch=2, memory_ladder=["batch"])
    assert backend.segment(FRAMES[:3]) == [None] * 3
    assert backend.counts == {"out_of_memory": 4, "memory_step_batch": 1}


def test_backend_other_errors_are_not_taken_for_a_shortage(hungry_backend, monkeypatch):
    monkeypatch.setattr(
        HungryPipeline, "run", lambda self, pictures: (_ for _ in ()).throw(RuntimeError("shape"))
    )
    backend = hungry_backend(9.0)
    with pytest.raises(RuntimeError, match="shape"):
        backend.segment(FRAMES[:1])


def test_backend_smaller_model_is_loaded_from_the_manifest(hungry_backend):
    backend = hungry_backend(0.1, max_batch=1, memory_ladder=["model"])
    backend.segment(FRAMES[:1])
    assert backend.ladder.settings.model == "tiny-owlv2_sam2"


def test_backend_told_to_stop_raises_when_nothing_else_is_left(hungry_backend):
    backend = hungry_backend(0.1, max_batch=2, memory_ladder=["batch", "stop"])
    with pytest.raises(BackendError, match="says to stop"):
        backend.segment(FRAMES[:3])
    assert backend.counts == {"out_of_memory": 2, "memory_step_batch": 1}


def test_backend_smaller_model_without_weights_is_left_out(
    hungry_backend, weights, tmp_path, caplog
):
    for path in weights.iterdir():
        if path.name != "tiny-owl":
            (tmp_path / path.name).symlink_to(path)
    backend = hungry_backend(
        0.1, max_batch=2, memory_ladder=["model", "batch"], weights_dir=str(tmp_path)
    )
    assert backend.segment(FRAMES[:1]) == [None]
    assert backend.ladder.taken == ["batch"]
    assert "step 'model' of the memory ladder is left out" in caplog.text
