from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from relivchats.staff.reports import Level, Line, Report, Table, worst
from relivchats.terminal import Layout, columns

FINE = Line("disk", Level.FINE, "22 % used")
LATE = Line(
    "queue", Level.WARNING, "140 due", "manage.py queue", {"due": 140}, 140, "100 warns", "/admin/insights/insight/"
)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], Level.FINE),
        ([Level.FINE, Level.WARNING], Level.WARNING),
        ([Level.WARNING, Level.UNKNOWN], Level.WARNING),
        ([Level.UNKNOWN, Level.FINE], Level.UNKNOWN),
        ([Level.UNKNOWN, Level.CRITICAL], Level.CRITICAL),
    ],
)
def test_what_was_found_outweighs_a_check_without_an_answer(levels: list[Level], expected: Level) -> None:
    assert worst(levels) is expected


def test_the_exit_status_of_a_level_is_that_of_a_nagios_plugin() -> None:
    assert [level.exit_status for level in Level] == [0, 1, 2, 3]


def test_a_line_that_is_not_fine_is_followed_by_its_remedy() -> None:
    text = Report("Health", (FINE, LATE)).as_text().splitlines()
    assert text[2].split() == ["fine", "disk", "22", "%", "used"]
    assert text[3].startswith("WARNING")
    assert text[4].strip() == f"→ {LATE.command}"


def test_json_contains_what_the_text_says() -> None:
    report = Report("Health", (FINE, LATE), Table(("id", "age"), ((1, "3 min"),)), {"milliseconds": 7})
    answer = json.loads(report.as_json())
    assert answer["level"] == "warning"
    assert answer["rows"] == [{"id": 1, "age": "3 min"}]
    assert answer["lines"][1] == {
        "name": "queue",
        "level": "warning",
        "text": "140 due",
        "value": 140,
        "threshold": "100 warns",
        "since": None,
        "changes": 0,
        "cause": "",
        "remedy": LATE.command,
        "page": "/admin/insights/insight/",
        "data": {"due": 140},
    }
    assert answer["milliseconds"] == 7


TABLE = Table(
    ("id", "outcome", "ended"), ((1, "done " * 30, datetime(2026, 11, 29, 9, 5, tzinfo=UTC)), (22, None, None))
)


def test_in_a_pipe_a_row_and_a_finding_are_one_plain_line_each() -> None:
    assert Report("Jobs", (FINE, LATE), TABLE).as_text() == "\n".join(
        [
            "Jobs",
            "",
            "id  outcome" + " " * 145 + "ended",
            "1   " + "done " * 30 + "  2026-11-29 09:05:00",
            "22  –" + " " * 151 + "–",
            "",
            "fine      disk   22 % used",
            "WARNING   queue  140 due",
            f"                 → {LATE.command}",
        ]
    )


def test_on_a_terminal_a_table_fits_the_window_and_levels_have_colours() -> None:
    text = Report("Jobs", (FINE, LATE), TABLE).as_text(Layout(colour=True, table_width=60))
    lines = [re.sub(r"\033\[[\d;]*m", "", line) for line in text.splitlines()]
    # A remedy stays in one piece, so that it can be copied.
    assert max(columns(line) for line in lines if "→" not in line) <= 60
    assert "\033[32mfine" in text
    assert "\033[33mWARNING" in text
    assert f"→ {LATE.command}" in text


def test_a_terminal_without_colours_shows_the_same_words() -> None:
    text = Report("Jobs", (FINE, LATE)).as_text(Layout(table_width=60))
    assert text.split() == Report("Jobs", (FINE, LATE)).as_text().split()


def test_a_report_for_a_pipe_or_in_json_does_not_load_rich() -> None:
    code = (
        "import sys, django; django.setup(); from relivchats.staff.commands import OpsCommand;"
        "from relivchats.staff.reports import *;"
        "report = Report('Jobs', (Line('disk', Level.FINE, 'ok'),), Table(('id',), ((1,),)));"
        "report.as_json(); report.as_text(); assert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ, check=True, timeout=600)
