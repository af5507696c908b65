"""A line that follows from another is listed without a remedy, and the first cause is named."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from ops import checks
from ops.causes import describe_root, find_causes, find_root
from ops.checks.registry import Check
from ops.console import overview
from relivchats import installation
from relivchats.staff.reports import Level, Line, Report

CHECKS = {
    name: Check(name, lambda: Line("", Level.FINE, ""), needs)
    for name, needs in {
        "disk": (),
        "database": ("disk",),
        "queries": ("database",),
        "workers": ("database",),
        "canary": ("database", "workers"),
        "jobs": ("database", "workers"),
        "ledger": ("database",),
    }.items()
}


def _line(name: str, level: Level = Level.CRITICAL, **more: object) -> Line:
    return Line(name, level, f"{name} has a problem", f"fix {name}", **more)  # type: ignore[arg-type]


def _causes(*lines: Line) -> dict[str, str]:
    return {line.name: line.cause for line in find_causes(lines, CHECKS)}


def test_what_follows_has_a_cause_and_no_remedy_and_the_cause_keeps_its_own() -> None:
    found = find_causes([_line("workers"), _line("canary"), _line("ledger")], CHECKS)
    assert [(line.cause, line.remedy) for line in found] == [
        ("", "fix workers"),
        ("workers", ""),
        ("", "fix ledger"),
    ]
    assert describe_root(found).startswith("root cause: workers: workers has a problem (1 other line follows from it)")


def test_the_first_of_a_chain_is_the_cause_of_all() -> None:
    disk = _line("disk", is_cause=True)
    causes = _causes(disk, _line("database"), _line("workers", Level.UNKNOWN), _line("canary", Level.UNKNOWN))
    assert causes == {"disk": "", "database": "disk", "workers": "disk", "canary": "disk"}


def test_a_warning_is_no_cause_unless_its_check_says_so() -> None:
    warning = _line("workers", Level.WARNING)
    assert _causes(warning, _line("jobs", Level.WARNING))["jobs"] == ""
    killed = _line("workers", Level.WARNING, is_cause=True)
    assert _causes(killed, _line("jobs", Level.WARNING))["jobs"] == "workers"


def test_what_waits_for_a_lock_follows_from_the_session_that_holds_it() -> None:
    lock = _line("queries", Level.WARNING, is_cause=True)
    assert _causes(lock, _line("ledger", Level.UNKNOWN, data={"waits": True}))["ledger"] == "queries"
    assert _causes(lock, _line("ledger", Level.CRITICAL))["ledger"] == ""


def test_late_work_in_the_ledger_follows_from_what_makes_it_late_or_else_from_the_line_of_the_work() -> None:
    late = _line("ledger", data={"late_work": True})
    jobs = _line("jobs", Level.WARNING, is_cause=True)
    assert _causes(_line("workers"), jobs, late) == {"workers": "", "jobs": "workers", "ledger": "workers"}
    assert _causes(jobs, late) == {"jobs": "", "ledger": "jobs"}
    assert _causes(_line("workers"), jobs, _line("ledger"))["ledger"] == ""


def test_a_fine_line_has_no_cause_and_findings_without_a_common_cause_no_headline() -> None:
    found = find_causes([_line("database"), Line("ledger", Level.FINE, "all hold")], CHECKS)
    assert [line.cause for line in found] == ["", ""]
    assert describe_root(found) == ""


def _unfinished(name: str) -> Line:
    return Line(name, Level.UNKNOWN, "did not finish", "manage.py health", is_unfinished=True)


def _waiting(name: str) -> Line:
    """Return the line of a check whose query waited for a lock."""
    return Line(name, Level.UNKNOWN, "a query waits", "manage.py database", {"waits": True}, is_unfinished=True)


def test_the_only_finding_is_the_headline_and_the_level_while_other_checks_did_not_finish() -> None:
    warning = _line("jobs", Level.WARNING)
    found = find_causes([_unfinished("workers"), _unfinished("ledger"), warning], CHECKS)
    assert [line.cause for line in found] == ["", "", ""]
    text = "root cause: jobs: jobs has a problem (2 checks did not finish)\n→ fix jobs"
    assert describe_root(found) == text
    assert Report("Health", tuple(found)).level.exit_status == 1
    assert find_root(found) == warning
    shown = overview.findings(Report("Health", tuple(found)), checked_at=None)
    assert (shown["level"], shown["mark"], shown["others"]) == (Level.WARNING, "!", 1)
    assert [each["line"].text for each in shown["failing"]] == ["did not finish: workers, ledger"]


def test_a_critical_finding_comes_before_a_warning_from_which_other_warnings_follow() -> None:
    frozen = _line("workers", Level.WARNING, is_cause=True)
    found = find_causes([frozen, _line("jobs", Level.WARNING), _line("ledger")], CHECKS)
    assert [line.cause for line in found] == ["", "workers", ""]
    assert describe_root(found) == "most severe: ledger: ledger has a problem (nothing follows from it)\n→ fix ledger"
    shown = overview.findings(Report("Health", tuple(found)), checked_at=None)
    assert (shown["root"].name, shown["level"], shown["others"]) == ("ledger", Level.CRITICAL, 2)


def test_a_warning_from_which_a_critical_finding_follows_is_the_root_and_critical() -> None:
    frozen = _line("workers", Level.WARNING, is_cause=True)
    found = find_causes([_line("ledger"), frozen, _line("jobs"), _line("canary", Level.WARNING)], CHECKS)
    assert describe_root(found).startswith("root cause: workers: workers has a problem (2 other lines follow from it)")
    shown = overview.findings(Report("Health", tuple(found)), checked_at=None)
    assert (shown["root"].name, shown["level"]) == ("workers", Level.CRITICAL)


def test_nothing_is_the_headline_if_independent_problems_were_found_while_other_checks_did_not_finish() -> None:
    found = find_causes([_unfinished("workers"), _line("ledger"), _line("jobs", Level.WARNING)], CHECKS)
    assert [line.cause for line in found] == ["", "", ""]
    assert describe_root(found) == ""


def test_checks_that_did_not_finish_are_one_line_of_text_with_their_remedy_and_all_of_the_json() -> None:
    report = Report("Health", (_unfinished("workers"), _waiting("ledger"), _unfinished("jobs")))
    printed = [line.split(maxsplit=1)[-1] for line in report.as_text().splitlines()[2:]]
    assert printed[0] == "2 checks  did not finish: workers, jobs"
    assert printed[2].startswith("ledger    a query waits")
    assert [line.startswith("→ ") for line in (printed[1], printed[3])] == [False, False]
    assert [printed[1], printed[3]] == [installation.as_typed(f"manage.py {each}") for each in ("health", "database")]
    assert len(json.loads(report.as_json())["lines"]) == 3


def test_two_findings_of_one_name_stay_two_lines() -> None:
    found = [Line("embeddings", Level.FINE, "configured"), Line("embeddings", Level.FINE, "answered")]
    text = Report("Engine check", tuple(found)).as_text()
    assert "configured" in text
    assert "answered" in text


def test_what_waits_for_a_lock_leads_to_the_database_also_if_other_checks_only_did_not_finish() -> None:
    found = find_causes([_unfinished("workers"), _waiting("ledger"), _waiting("jobs")], CHECKS)
    text = "a query waits: 3 checks did not finish in time: workers, ledger, jobs"
    assert describe_root(found) == f"{text}\n→ {installation.as_typed('manage.py database')}"
    shown = overview.findings(Report("Health", tuple(found)), checked_at=None)
    assert (shown["root"].name, shown["root"].text) == ("database", text)


def test_a_check_that_did_not_finish_follows_from_the_session_that_keeps_a_table_locked() -> None:
    lock = _line("queries", Level.WARNING, is_cause=True)
    assert _causes(lock, _unfinished("ledger"), _unfinished("disk")) == {"queries": "", "ledger": "queries", "disk": ""}


def test_if_checks_only_did_not_finish_the_headline_says_that_the_machine_is_busy() -> None:
    found = find_causes([_unfinished("workers"), _unfinished("ledger"), Line("jobs", Level.FINE, "none")], CHECKS)
    text = "the machine is busy: 2 checks did not finish in time: workers, ledger"
    assert describe_root(found).splitlines()[0] == text
    shown = overview.findings(Report("Health", tuple(found)), checked_at=None)
    assert (shown["root"].text, shown["level"], shown["others"]) == (text, Level.UNKNOWN, 1)


def test_a_check_that_did_not_finish_follows_from_the_server_that_it_waits_for() -> None:
    assert _causes(_line("database"), _unfinished("workers")) == {"database": "", "workers": "database"}


def test_checks_need_only_checks_that_exist_and_never_themselves() -> None:
    registered = {check.name: check for check in (*checks.ALL, *checks.VERBOSE)}

    def depth(name: str) -> int:
        return 1 + max((depth(needed) for needed in registered[name].needs), default=0)

    assert max(depth(name) for name in registered) < len(registered), "a cycle would not end"


def test_a_line_that_was_not_fine_before_its_cause_does_not_follow_from_it() -> None:
    new, old = timedelta(), timedelta(minutes=11)
    found = find_causes(
        [_line("workers", bad_for=new), _line("jobs", bad_for=old), _line("canary", bad_for=new)], CHECKS
    )
    assert [(line.cause, line.remedy) for line in found] == [
        ("", "fix workers"),
        ("", "fix jobs"),
        ("workers", ""),
    ]


def test_checks_that_only_wait_for_a_server_are_one_line_of_text_and_all_of_the_json() -> None:
    waiting = [Line(name, Level.UNKNOWN, "waiting for the database") for name in ("canary", "ledger", "jobs")]
    report = Report("Health", tuple(find_causes([_line("database"), *waiting], CHECKS)))
    assert (
        report.as_text()
        .splitlines()[-1]
        .endswith("3 checks  waiting for the database: canary, ledger, jobs (follows from database)")
    )
    assert len(json.loads(report.as_json())["lines"]) == 4


@pytest.mark.parametrize("check", [*checks.ALL, *checks.VERBOSE], ids=lambda check: check.name)
def test_a_check_without_an_answer_in_time_changes_nothing_unless_it_is_that_of_a_server(check: Check) -> None:
    if check.name not in ("database", "broker"):
        assert check.remedy_without_answer == "manage.py health"
