from __future__ import annotations

import json

import pytest

from relivchats.staff.reports import Level, Line, Report, Table, worst

FINE = Line("disk", Level.FINE, "22 % used")
LATE = Line("queue", Level.WARNING, "140 due", "manage.py queue", {"due": 140})


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], Level.FINE),
        ([Level.FINE, Level.WARNING], Level.WARNING),
        ([Level.UNKNOWN, Level.WARNING], Level.UNKNOWN),
        ([Level.UNKNOWN, Level.CRITICAL], Level.CRITICAL),
    ],
)
def test_what_is_broken_outweighs_what_could_not_be_told(levels: list[Level], expected: Level) -> None:
    assert worst(levels) is expected


def test_levels_exit_as_nagios_expects() -> None:
    assert [level.exit_status for level in Level] == [0, 1, 2, 3]


def test_a_line_that_is_not_fine_is_followed_by_its_mend() -> None:
    text = Report("Health", (FINE, LATE)).as_text().splitlines()
    assert text[2].split() == ["fine", "disk", "22", "%", "used"]
    assert text[3].startswith("WARNING")
    assert text[4].strip() == "→ manage.py queue"


def test_json_holds_what_the_text_says() -> None:
    report = Report("Health", (FINE, LATE), Table(("id", "age"), ((1, "3 min"),)), {"milliseconds": 7})
    answer = json.loads(report.as_json())
    assert answer["level"] == "warning"
    assert answer["rows"] == [{"id": 1, "age": "3 min"}]
    assert answer["lines"][1] == {
        "name": "queue",
        "level": "warning",
        "text": "140 due",
        "remedy": "manage.py queue",
        "data": {"due": 140},
    }
    assert answer["milliseconds"] == 7
