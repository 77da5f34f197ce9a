"""Progress bars on the terminal; silent where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Moves a bar on."""

    def __call__(self, num: int = 1, text: str = "") -> None:
        """Add to what is done and replace the text beside the bar, if one is given."""


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Advance]:
    """Show a bar on stderr while the block runs, and yield what moves it.

    Args:
        title: Words before the bar.
        total: How much there is to do; None where nobody knows.
    """
    if not sys.stderr.isatty():
        yield lambda num=1, text="": None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}" + ("/{task.total:.0f}" if total else "")),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, text="")

        def advance(num: int = 1, text: str = "") -> None:
            bar.advance(task, num)
            if text:
                bar.update(task, text=text)

        yield advance


def up_to(advance: Advance) -> Callable[[float], None]:
    """Return what moves a bar to how far something is, in whole steps."""
    shown = 0

    def show(done: float) -> None:
        nonlocal shown
        if int(done) > shown:
            advance(int(done) - shown)
            shown = int(done)

    return show
