"""Text prompts: which classes to look for, under which names, and the ids they get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seg2d3d_ros.errors import ConfigError
from seg2d3d_ros.segmentation.classes import CITYSCAPES, FIRST_PROMPT_CLASS, LAST_PROMPT_CLASS


@dataclass(frozen=True)
class PromptClass:
    """One class to look for: its id, its name and the phrases that mean it."""

    class_id: int
    name: str
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class Prompt:
    """All classes to look for, most important first."""

    classes: tuple[PromptClass, ...]

    @property
    def phrases(self) -> list[str]:
        """All phrases, class by class."""
        return [phrase for one in self.classes for phrase in one.phrases]

    @property
    def class_of_phrase(self) -> list[int]:
        """For each phrase, the position of its class."""
        return [i for i, one in enumerate(self.classes) for _ in one.phrases]

    @property
    def names(self) -> dict[int, str]:
        """Class names by id."""
        return {one.class_id: one.name for one in self.classes}


def parse_prompt(entries: Sequence[str]) -> Prompt:
    """Read `name` or `name=synonym,synonym` entries.

    Names of Cityscapes classes keep their ids, others get 40, 41, ... in the order given. With
    synonyms the name itself is looked for only if it is among them.

    Raises:
        ConfigError: there is none, one is empty, a phrase occurs twice, or there are too many.
    """
    known = {name: class_id for class_id, name in CITYSCAPES.items()}
    next_id = FIRST_PROMPT_CLASS
    classes: list[PromptClass] = []
    for entry in entries:
        name, _, synonyms = entry.partition("=")
        name = _normalise(name)
        phrases = tuple(_normalise(p) for p in (synonyms or name).split(","))
        if not name or not all(phrases):
            raise ConfigError(
                f"the prompt entry '{entry}' is empty in part; write 'name' or "
                "'name=synonym,synonym'"
            )
        if name not in known:
            known[name], next_id = next_id, next_id + 1
        classes.append(PromptClass(known[name], name, phrases))
    prompt = Prompt(tuple(classes))
    _check(prompt, next_id)
    return prompt


def _normalise(text: str) -> str:
    """Lower case, single spaces; full stops and commas would divide phrases."""
    return " ".join(text.lower().replace(".", " ").split())


def _check(prompt: Prompt, next_id: int) -> None:
    if not prompt.classes:
        raise ConfigError("the prompt is empty; name at least one class, such as 'building'")
    if next_id - 1 > LAST_PROMPT_CLASS:
        raise ConfigError(
            f"the prompt names {next_id - FIRST_PROMPT_CLASS} classes outside Cityscapes; "
            f"{LAST_PROMPT_CLASS - FIRST_PROMPT_CLASS + 1} is the most there is room for"
        )
    names = [one.name for one in prompt.classes]
    for what, values in (("class", names), ("phrase", prompt.phrases)):
        double = sorted({v for v in values if values.count(v) > 1})
        if double:
            raise ConfigError(f"the prompt names the {what} '{double[0]}' twice; name it once")
