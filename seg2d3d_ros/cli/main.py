"""`seg2d3d`: finds the command, runs it, and turns what goes wrong into messages and exit codes.

0 good, 1 the user can mend it (usage errors too), 2 our fault, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn, TextIO

from seg2d3d_ros import __version__
from seg2d3d_ros.cli import arguments
from seg2d3d_ros.errors import Seg2D3DError

COMMANDS = (
    "replay",
    "play",
    "live",
    "simulate",
    "evaluate",
    "demo",
    "doctor",
    "models",
    "export",
    "explain",
    "merge",
    "split",
    "undo",
    "truth",
    "align",
)
GOOD, MENDABLE, OUR_FAULT, INTERRUPTED = 0, 1, 2, 130
# New objects between two looks for garbage in cycles. We make next to none, and to look through
# all that is alive as often as Python does by itself takes a fiftieth of the time of a replay.
_RARELY = 20_000
# What disks, rights and pipes refuse; any other OSError is our fault.
_REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EMFILE, errno.EPIPE),
}


class Parser(argparse.ArgumentParser):
    """Exits with 1 on wrong usage, where argparse would with 2."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and what was wrong, and exit."""
        self.print_usage(sys.stderr)
        self.exit(MENDABLE, f"{self.prog}: error: {message}\n")


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is by then: a progress bar may have taken its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.stream = sys.stderr
        super().emit(record)


def available() -> list[str]:
    """Return the commands whose module exists."""
    return [c for c in COMMANDS if importlib.util.find_spec(f"seg2d3d_ros.cli.{c}")]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # Small products are many here: BLAS threads would spin for half of the processor time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(_RARELY)
    try:
        return _run(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else GOOD if stop.code is None else MENDABLE
    except Seg2D3DError as error:
        return _complain(f"error: {error}", MENDABLE, argv)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("seg2d3d_ros"):
            text = f"internal error: {error}. After a `git pull`, `make setup` makes it known"
            return _complain(text, OUR_FAULT, argv)
        text = f"error: this needs the Python module '{error.name}', which is not installed here"
        return _complain(f"{text}; `make setup` installs everything", MENDABLE, argv)
    except OSError as error:
        if error.errno not in _REFUSALS:
            return _complain_of_our_fault(error, argv)
        return _complain(f"error: {_refusal(error)}", MENDABLE, argv)
    except KeyboardInterrupt:
        return _complain("interrupted: nothing was written", INTERRUPTED, argv)
    except Exception as error:
        return _complain_of_our_fault(error, argv)


def _refusal(error: OSError) -> str:
    """Return what the system refused, and what can be done."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor at exit
        return "whoever read the output has stopped reading; let it read to the end"
    what = f"'{error.filename}'" if error.filename else "a file"
    return (
        f"the system refuses {what}: {error.strerror}. See to room and rights there, or choose "
        "another place"
    )


def _complain_of_our_fault(error: Exception, argv: Sequence[str]) -> int:
    hint = "" if "--debug" in argv else "\nThis is our fault; --debug shows where it happened"
    text = f"internal error: {type(error).__name__}: {error}"
    return _complain(text + hint, OUR_FAULT, argv)


def _complain(text: str, code: int, argv: Sequence[str]) -> int:
    if "--debug" in argv:
        traceback.print_exc()
    print(f"seg2d3d: {text}", file=sys.stderr)
    return code


def _run(argv: list[str]) -> int:
    args = _parse(argv)
    _set_up_logging(args)
    return int(args.run(args) or GOOD)


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parse arguments; only the module of the command that was asked for is imported."""
    parser = Parser(
        prog="seg2d3d", description="Turn what cameras see of a street into one labelled 3D map."
    )
    parser.add_argument("--version", action="version", version=f"seg2d3d {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    known = available()
    for name in [argv[0]] if argv and argv[0] in known else known:
        module = importlib.import_module(f"seg2d3d_ros.cli.{name}")
        _add_command(commands, name, module)
    return parser.parse_args(argv)


def _add_command(
    commands: argparse._SubParsersAction[Parser], name: str, module: ModuleType
) -> None:
    help: str = module.HELP
    parser = commands.add_parser(name, help=help, description=help[:1].upper() + help[1:] + ".")
    module.configure(parser)
    parser.set_defaults(run=module.run)
    arguments.add_messages(parser)


def _set_up_logging(args: argparse.Namespace) -> None:
    level = logging.WARNING
    for wanted, at in ((args.quiet, "ERROR"), (args.verbose, "INFO"), (args.debug, "DEBUG")):
        level = getattr(logging, at) if wanted else level
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], force=True)
    logging.getLogger("seg2d3d_ros").setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
