import io
import sys

from seg2d3d_ros.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_without_terminal_is_silent(capsys):
    with progress("mapping", 10) as advance:
        advance(3, "words")
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == ""


def test_progress_on_a_terminal_shows_title_count_and_text(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("mapping", 10) as advance:
        advance(10, "8 instances")
    said = terminal.getvalue()
    assert "mapping" in said and "10/10" in said and "8 instances" in said
