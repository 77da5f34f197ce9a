"""What to give up when GPU memory runs out: a ladder of settings, one step per shortage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from seg2d3d_ros.errors import BackendError, ConfigError

_LOG = logging.getLogger(__name__)

MIN_INPUT_SCALE = 0.5
STOP = "stop"
_SHORTAGES = ("out of memory", "ALLOC_FAILED", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Settings:
    """How networks are run.

    Attributes:
        batch: Pictures at once.
        precision: `fp32`, `fp16` or `bf16`.
        input_scale: Size of the detector's input relative to the usual one.
        model: Name of the model in the weights manifest.
        device: Torch device.
        is_compiled: With CUDA graphs, on a GPU.
    """

    batch: int
    precision: str
    input_scale: float
    model: str
    device: str
    is_compiled: bool = False

    def compiled(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return what runs a network, with CUDA graphs where they are wanted."""
        if not self.is_compiled:
            return forward
        import torch

        return torch.compile(forward, mode="reduce-overhead", dynamic=False)

    def needs_rebuild(self, other: Settings) -> bool:
        """Tell whether networks built for the other settings cannot be used for these."""
        return replace(self, batch=0) != replace(other, batch=0)


class MemoryLadder:
    """The settings in force, and the way down from them.

    Attributes:
        settings: Settings in force.
        taken: Names of the steps that were taken, in order.
    """

    def __init__(
        self, settings: Settings, steps: Sequence[str], smaller: Callable[[str], str]
    ) -> None:
        """Start at the top.

        Args:
            settings: Wanted settings.
            steps: Names of steps, the first to be taken first; `stop` ends the run there.
            smaller: Returns the name of a model's smaller stand-in, empty if it has none.

        Raises:
            ConfigError: a step is unknown.
        """
        self._ways: dict[str, Callable[[Settings], Settings]] = {
            "batch": lambda s: replace(s, batch=max(1, s.batch // 2)),
            "half": lambda s: replace(
                s, precision="fp16" if s.precision == "fp32" else s.precision
            ),
            "input": lambda s: replace(s, input_scale=max(MIN_INPUT_SCALE, s.input_scale * 0.7)),
            "model": lambda s: replace(s, model=smaller(s.model) or s.model),
            "cpu": lambda s: replace(s, device="cpu", precision="fp32", is_compiled=False),
        }
        known = [*self._ways, STOP]
        unknown = [step for step in steps if step not in known]
        if unknown:
            raise ConfigError(
                f"segmentation.memory_ladder holds '{unknown[0]}'; there are {', '.join(known)}"
            )
        self.settings = settings
        self.taken: list[str] = []
        self._steps = list(steps)

    def step_down(self) -> bool:
        """Take the first step that changes anything; False at the bottom.

        Raises:
            BackendError: that step is `stop`.
        """
        steps = self._steps
        if self.settings.device == "cpu":
            steps = [step for step in steps if step in ("batch", "input", "model", STOP)]
        for step in steps:
            if step == STOP:
                raise BackendError(
                    f"out of memory with {self.settings}, and segmentation.memory_ladder says to "
                    f"stop here (steps taken: {', '.join(self.taken) or 'none'}). Give it a "
                    "smaller model or more of max_gpu_memory_mb, or take 'stop' off the ladder"
                )
            lower = self._ways[step](self.settings)
            if lower != self.settings:
                _LOG.warning(
                    "out of memory: step '%s' of the memory ladder leads to %s", step, lower
                )
                self.settings = lower
                self.taken.append(step)
                return True
        _LOG.error("out of memory with %s, and nothing is left to give up", self.settings)
        return False


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception of torch means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SHORTAGES)


def hold_limit(device: str, max_gpu_memory_mb: int) -> None:
    """Let torch's allocator report a shortage once this process holds more than a limit."""
    import torch

    if max_gpu_memory_mb <= 0 or not device.startswith("cuda"):
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, max_gpu_memory_mb * 2**20 / total), device)


def free_cached(device: str) -> None:
    """Give memory that torch keeps for later back to the GPU."""
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda") and torch.cuda.is_available():
        torch.cuda.empty_cache()
