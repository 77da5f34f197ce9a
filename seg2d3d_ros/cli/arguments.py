"""Arguments that several commands share, and the kinds of numbers they take."""

from __future__ import annotations

import argparse
from pathlib import Path

_REMAP = ":="


def add_result(parser: argparse.ArgumentParser) -> None:
    """Declare RESULT, the folder that a command reads."""
    parser.add_argument("result", type=Path, metavar="RESULT", help="result folder of replay")


def add_target(parser: argparse.ArgumentParser, required: bool = True, more: str = "") -> None:
    """Declare `--out` and `--overwrite`, where a command writes a result."""
    parser.add_argument(
        "--out", type=Path, required=required, metavar="DIR", help=f"result folder{more}"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the result that is there already"
    )


def add_onto(parser: argparse.ArgumentParser, what: str, required: bool = False) -> None:
    """Declare `--onto`, the result to whose map something is added."""
    parser.add_argument(
        "--onto",
        type=Path,
        required=required,
        metavar="RESULT",
        help=f"add the {what} to the map of this result; it is left as it is",
    )


def add_messages(parser: argparse.ArgumentParser) -> None:
    """Declare how much a command tells."""
    talk = parser.add_argument_group("messages")
    talk.add_argument("-v", "--verbose", action="store_true", help="tell what is being done")
    talk.add_argument("-q", "--quiet", action="store_true", help="show errors only")
    talk.add_argument("--debug", action="store_true", help="tell everything, with tracebacks")


def seconds(text: str) -> float:
    """Return a length of time, zero or more."""
    value = _number(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no length of time in seconds")
    return value


def positive(text: str) -> float:
    """Return a number above zero."""
    value = _number(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return value


def count(text: str) -> int:
    """Return a whole number, zero or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number, zero or more")
    return int(text)


def remap(text: str) -> str:
    """Return a rule of ROS 2 that gives a name another: FROM:=TO."""
    name, _, other = text.partition(_REMAP)
    if not name or not other or _REMAP in other:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not of the form FROM{_REMAP}TO, as in image:=/camera/image_raw"
        )
    return text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
