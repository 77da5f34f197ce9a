import errno
import importlib.machinery
import subprocess
import sys
import types

import pytest

from seg2d3d_ros.cli import main as cli
from seg2d3d_ros.errors import ConfigError


@pytest.fixture
def command(monkeypatch):
    """Add a command `fake` whose run does what the test says."""
    name = "seg2d3d_ros.cli.fake"
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.HELP = "pretend"
    module.configure = lambda parser: parser.add_argument("--size", type=int, default=1)
    module.run = lambda args: 0
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(cli, "COMMANDS", ("fake", "replay"))
    return module


def raising(error):
    def run(args):
        raise error

    return run


def test_main_runs_the_command_with_its_arguments(command):
    seen = []
    command.run = lambda args: seen.append(args.size) or 0
    assert cli.main(["fake", "--size", "3"]) == 0
    assert seen == [3]


@pytest.mark.parametrize("argv", [[], ["bogus"], ["fake", "--size", "three"], ["fake", "--nope"]])
def test_main_wrong_usage_exits_with_one_and_says_what(command, capsys, argv):
    assert cli.main(argv) == 1
    assert "error:" in capsys.readouterr().err


def test_main_users_error_is_a_message_without_traceback(command, capsys):
    command.run = raising(ConfigError("unknown key 'a.b'"))
    assert cli.main(["fake"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "seg2d3d: error: unknown key 'a.b'\n" and captured.out == ""


def test_main_our_fault_is_two_with_traceback_only_on_demand(command, capsys):
    command.run = raising(ZeroDivisionError("by nothing"))
    assert cli.main(["fake"]) == 2
    said = capsys.readouterr().err
    assert "ZeroDivisionError: by nothing" in said and "Traceback" not in said
    assert cli.main(["fake", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "a file: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "x.json"), "'x.json': Permission"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "there"), "'there': Is a directory"),
    ],
)
def test_main_what_the_system_refuses_can_be_mended(command, capsys, error, said):
    command.run = raising(error)
    assert cli.main(["fake"]) == 1
    captured = capsys.readouterr().err
    assert captured.startswith("seg2d3d: error: ") and said in captured
    assert "choose another place" in captured


def test_main_file_that_ought_to_be_there_is_our_fault(command, capsys):
    command.run = raising(FileNotFoundError(errno.ENOENT, "No such file or directory", "ours"))
    assert cli.main(["fake"]) == 2
    assert "FileNotFoundError" in capsys.readouterr().err


def test_main_output_that_nobody_reads_ends_with_one_line(tmp_path):
    script = (
        "import sys; from seg2d3d_ros.cli.main import main; sys.stdout.reconfigure("
        "line_buffering=True); sys.stdin.read(); sys.exit(main(['models', 'list']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    process.stdin.close()
    said = process.stderr.read()
    assert (process.wait(timeout=60), said.count("\n")) == (1, 1), said
    assert "stopped reading" in said


def test_main_interrupt_is_130(command, capsys):
    command.run = raising(KeyboardInterrupt())
    assert cli.main(["fake"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_main_missing_library_can_be_mended_missing_own_module_not(command, capsys):
    command.run = raising(ModuleNotFoundError("No module named 'rclpy'", name="rclpy"))
    assert cli.main(["fake"]) == 1
    assert "'rclpy'" in capsys.readouterr().err
    own = ModuleNotFoundError("No module named 'seg2d3d_ros.x'", name="seg2d3d_ros.x")
    command.run = raising(own)
    assert cli.main(["fake"]) == 2
    assert "`make setup`" in capsys.readouterr().err


def test_main_help_lists_what_exists_only(command, capsys, monkeypatch):
    monkeypatch.setattr(cli, "COMMANDS", ("fake", "replay", "notthere"))
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "pretend" in said and "replay" in said and "notthere" not in said


def test_main_every_existing_command_has_help_and_arguments(capsys):
    for name in cli.available():
        assert cli.main([name, "--help"]) == 0, name
        assert "--debug" in capsys.readouterr().out


def test_main_of_one_command_imports_neither_the_others_nor_heavy_libraries():
    script = (
        "import sys; from seg2d3d_ros.cli.main import main; main(['replay', '--help']); "
        "heavy = {'torch', 'rclpy', 'gtsam', 'pycolmap', 'matplotlib', 'rosbags', "
        "'seg2d3d_ros.simulation', 'seg2d3d_ros.pipeline'}; "
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"
