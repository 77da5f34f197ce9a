"""What all network backends share: device, batches, memory, prompts, and masks with labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import BackendError, ConfigError, WeightsError
from seg2d3d_ros.geometry.masks import encode
from seg2d3d_ros.segmentation.classes import STRUCTURE, STUFF, structure_labels
from seg2d3d_ros.segmentation.memory import (
    MemoryLadder,
    Settings,
    free_cached,
    hold_limit,
    is_out_of_memory,
)
from seg2d3d_ros.segmentation.prompts import Prompt, PromptClass, parse_prompt
from seg2d3d_ros.segmentation.weights import OpenModel, default_model, find_model, open_model
from seg2d3d_ros.types import Frame, Mask

if TYPE_CHECKING:
    from seg2d3d_ros.segmentation.networks.pipeline import Candidates, Pipeline

_LOG = logging.getLogger(__name__)

Result = TypeVar("Result")
Build = Callable[[OpenModel, Settings, Config], "Pipeline"]

ANYTHING = Prompt((PromptClass(0, "structure", ("anything",)),))
MAX_INSTANCES = 999


class NetworkBackend:
    """Runs a chain of networks behind the SegmentationBackend protocol.

    Weights are verified when it is made; networks are built on the device at `activate`, or by the
    first pictures. A shortage of memory takes a step down the ladder and tries again.
    """

    def __init__(self, name: str, config: Config, build: Build, takes_prompt: bool = True) -> None:
        """Verify the weights of the backend's model.

        Raises:
            BackendError: the device is not there.
            WeightsError: weights are missing, wrong or unsafe.
        """
        options = config.segmentation
        self.name = name
        self.counts: dict[str, float] = {}
        self.max_batch = options.max_batch
        self._config, self._build, self._takes_prompt = config, build, takes_prompt
        self._prompt = parse_prompt(options.prompt) if takes_prompt else ANYTHING
        self.classes: dict[int, str] = dict(self._prompt.names)
        model = default_model(config, name)
        self._model = open_model(config, model)
        device = choose_device(config.runtime.device)
        settings = Settings(
            batch=options.max_batch,
            precision=choose_precision(options.precision, device),
            input_scale=1.0,
            model=model.name,
            device=device,
            is_compiled=options.compile and device != "cpu",
        )
        self.ladder = MemoryLadder(settings, options.memory_ladder, self._smaller)
        hold_limit(device, options.max_gpu_memory_mb)
        self._pipeline: Pipeline | None = None
        self._built = settings
        self._is_on_device = False

    def segment(self, frames: Sequence[Frame]) -> list[list[Mask] | None]:
        """Return the masks of each picture; None where memory did not suffice for a picture.

        Raises:
            BackendError: memory ran out, and the ladder says to stop then.
        """
        done: list[list[Mask] | None] = []
        while len(done) < len(frames):
            chunk = frames[len(done) : len(done) + self.ladder.settings.batch]
            found = self._run(chunk)
            if found is not None:
                done += [self._to_masks(candidates) for candidates in found]
            elif not self.ladder.step_down():
                done += [None] * len(chunk)
            else:
                self._count(f"memory_step_{self.ladder.taken[-1]}")
        return done

    def set_prompt(self, classes: Sequence[str]) -> None:
        """Look for other classes from now on.

        Raises:
            BackendError: the backend takes no prompt.
            ConfigError: the prompt is not well formed.
        """
        if not self._takes_prompt:
            raise BackendError(
                f"the segmentation backend '{self.name}' takes no text prompt; choose one that "
                "does, such as grounded_sam2"
            )
        prompt = parse_prompt(classes)
        if self._pipeline is not None:
            self._pipeline.set_prompt(prompt)
        self._prompt = prompt
        self.classes |= prompt.names

    def activate(self, shapes: Sequence[tuple[int, int]] = ()) -> None:
        """Take the device; on a GPU, warm up with a black picture of every camera's shape (h, w).

        Equal shapes are run together, as later. On a processor there is nothing to warm up.
        """
        while self._try(self._ready_pipeline) is None and self.ladder.step_down():
            self._count(f"memory_step_{self.ladder.taken[-1]}")
        for (h, w), num in Counter(shapes).items():
            if self.ladder.settings.device != "cpu":
                black = Frame("warm-up", 0, np.zeros((h, w, 3), np.uint8))
                self.segment([black] * num)

    def deactivate(self) -> None:
        """Move the networks to main memory."""
        if self._pipeline is not None and self._is_on_device:
            self._pipeline.to("cpu")
            free_cached(self._built.device)
        self._is_on_device = False

    def close(self) -> None:
        """Free the networks."""
        self._pipeline, self._is_on_device = None, False
        free_cached(self._built.device)

    def _run(self, frames: Sequence[Frame]) -> list[Candidates] | None:
        """Run the networks; None if memory ran out."""
        from seg2d3d_ros.segmentation.networks.pictures import to_tensor

        def run() -> list[Candidates]:
            pipeline = self._ready_pipeline()
            images = [frame.image for frame in frames]
            return pipeline.run(to_tensor(images, self.ladder.settings.device))

        return self._try(run)

    def _smaller(self, model: str) -> str:
        """Return a model's smaller stand-in; empty if it has none whose weights can be used."""
        name = find_model(self._config, model).smaller
        try:
            return open_model(self._config, find_model(self._config, name)).name if name else ""
        except WeightsError as error:
            _LOG.warning("the step 'model' of the memory ladder is left out: %s", error)
            return ""

    def _try(self, work: Callable[[], Result]) -> Result | None:
        """Do some work; None, counted, if memory ran out."""
        try:
            return work()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            _LOG.warning("out of memory with %s: %s", self.ladder.settings, error)
        # outside the handler: the exception, which held tensors by its traceback, is gone by now
        self._count("out_of_memory")
        free_cached(self.ladder.settings.device)
        return None

    def _ready_pipeline(self) -> Pipeline:
        """Return the networks for the settings in force, on their device."""
        import torch

        settings = self.ladder.settings
        if self._pipeline is not None and settings.needs_rebuild(self._built):
            self.close()
        if self._pipeline is None:
            if settings.model != self._model.name:
                self._model = open_model(self._config, find_model(self._config, settings.model))
            if settings.device == "cpu":
                torch.set_num_threads(self._config.runtime.num_threads)
            self._pipeline = self._build(self._model, settings, self._config)
            self._built, self._is_on_device = settings, True
            self._pipeline.set_prompt(self._prompt)
        if not self._is_on_device:
            self._pipeline.to(settings.device)
            self._is_on_device = True
        return self._pipeline

    def _to_masks(self, found: Candidates) -> list[Mask]:
        return make_masks(found, self._prompt, self._config.segmentation.nms_overlap)

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1


def make_masks(found: Candidates, prompt: Prompt, overlap: float) -> list[Mask]:
    """Suppress double masks, unite those of classes that are stuff, and number the others.

    Args:
        found: What networks found in a picture.
        prompt: The prompt they were given.
        overlap: Intersection over union from which two masks of a class are one.

    Returns:
        Masks with labels class * 1000 + k, best first within a class; for stuff label = class.
    """
    from seg2d3d_ros.segmentation.networks.suppression import suppress_masks

    class_ids = np.array([one.class_id for one in prompt.classes])[found.classes]
    order = np.argsort(-found.scores, kind="stable")
    is_stuff = np.isin(class_ids, list(STUFF))
    things = order[~is_stuff[order]]
    things = things[suppress_masks(found.masks[things], class_ids[things], overlap)]
    masks = []
    for class_id in np.unique(class_ids[is_stuff]).tolist():
        rows = class_ids == class_id
        union, score = found.masks[rows].any(axis=0), float(found.scores[rows].max())
        masks.append(Mask(class_id, class_id, score, *encode(union)))
    for class_id in np.unique(class_ids[things]).tolist():
        rows = things[class_ids[things] == class_id][:MAX_INSTANCES]
        labels = structure_labels(len(rows)) if class_id == STRUCTURE else range(1, len(rows) + 1)
        masks += [
            _make_mask(found, i, class_id, class_id * 1000 + k)
            for i, k in zip(rows, labels, strict=True)
        ]
    return masks


def _make_mask(found: Candidates, i: int, class_id: int, label: int) -> Mask:
    bbox_px, runs = encode(found.masks[i])
    score = float(found.scores[i])
    if found.embeddings is None:
        return Mask(label, class_id, score, bbox_px, runs)
    vector = found.embeddings[i].astype(np.float32)
    return Mask(label, class_id, score, bbox_px, runs, vector, found.embedding_model_id)


def choose_device(wanted: str) -> str:
    """Return the torch device for a configured name.

    Raises:
        BackendError: the device is not there.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if has_cuda else "cpu"
    kind, _, number = wanted.partition(":")
    if kind == "cpu":
        return "cpu"
    if kind == "cuda" and has_cuda and int(number or 0) < torch.cuda.device_count():
        return wanted
    there = f"{torch.cuda.device_count()} GPUs" if has_cuda else "no GPU that torch can use"
    raise BackendError(
        f"runtime.device is '{wanted}', but there is {there}; set it to auto, cpu or cuda:N"
    )


def choose_precision(wanted: str, device: str) -> str:
    """Return fp32, fp16 or bf16 for a configured name: `auto` is fp16 on a GPU, else fp32.

    Raises:
        ConfigError: the name is unknown.
    """
    if wanted == "auto":
        return "fp16" if device.startswith("cuda") else "fp32"
    if wanted not in ("fp32", "fp16", "bf16"):
        raise ConfigError(
            f"segmentation.precision is '{wanted}'; it must be auto, fp32, fp16 or bf16"
        )
    return wanted
