"""Text output is fitted and styled on a terminal, and plain in a pipe."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from relivchats.terminal import Layout, columns, progress

HEADINGS = ("id", "outcome")
ROWS = [(1, "[bold]done[/bold] " * 40), (22, "\033[2Jwiped :smile:")]
PIPE, TERMINAL = Layout(), Layout(colour=True, table_width=60)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_row_is_one_line_in_a_pipe_however_long() -> None:
    head, first, second = PIPE.table(HEADINGS, ROWS, right=("id",))
    assert head == "id  outcome"
    assert first == f" 1  {'[bold]done[/bold] ' * 40}".rstrip()
    assert second == "22  [2Jwiped :smile:"


def test_a_table_keeps_to_the_window_on_a_terminal() -> None:
    lines = TERMINAL.table(HEADINGS, ROWS)
    assert len(lines) > 10
    assert lines[0].startswith("\033[1m")
    assert max(columns(line) for line in lines[1:]) <= 60


def test_on_a_terminal_an_id_stays_on_one_line_and_words_wrap() -> None:
    pk = "3f9a6dbe-8b7f-4f7e-9f1b-0c8f5c1f6d11"
    lines = Layout(table_width=64).table(("job", "status", "waiting for"), [(pk, "queued", "its lease expired " * 4)])
    assert lines[1].startswith(f"{pk}  queued  its lease")
    assert len(lines) > 3
    assert max(map(columns, lines)) <= 64


def test_on_a_narrow_terminal_an_id_is_folded_and_not_cut() -> None:
    pk = "3f9a6dbe-8b7f-4f7e-9f1b-0c8f5c1f6d11"
    lines = Layout(table_width=40).table(("job", "waiting for"), [(pk, "its lease expired")])
    assert "".join(line.split("  ")[0] for line in lines[1:]) == pk


def test_bars_are_in_proportion_and_keep_to_the_width() -> None:
    lines = PIPE.bars([("Asha 😂", 1000), ("Rohan", 250), ("x" * 200, 0)], labels=["50 %", "12 %", ""])
    lengths = [line.count("█") for line in lines]
    assert lengths[1] == pytest.approx(lengths[0] / 4, abs=1)
    assert lengths[2] == 0
    assert "1,000" in lines[0]
    assert max(map(columns, lines)) <= 80


def test_progress_is_one_line_per_step_without_a_terminal() -> None:
    stream = io.StringIO()
    with progress("Chats", total=400, stream=stream) as done:
        done(200)
        done(400)
    assert stream.getvalue() == "Chats: 200 of 400\nChats: 400 of 400\n"


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with progress("Chats", total=400, stream=stream) as done:
        done(400)
    assert "400/400" in stream.getvalue()


def test_the_web_server_starts_without_loading_rich() -> None:
    code = "import sys, relivchats.wsgi; print([name for name in sys.modules if name.split('.')[0] == 'rich'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, timeout=600, check=True
    )
    assert done.stdout == "[]\n"
