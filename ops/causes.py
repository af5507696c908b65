"""Which findings follow from which: one frozen worker makes ten lines, and only one of them needs a remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from ops.checks.registry import Check
from relivchats.staff.reports import Level, Line, worst

#: The history is recorded every 15 s, and a consequence may be noticed before its cause.
GRACE = timedelta(seconds=60)
#: What makes work late, and the lines that say which work is.
LATE_WORK_NEEDS = ("broker", "workers", "beat", "insights", "jobs", "reservations")


def find_causes(lines: Sequence[Line], checks: Mapping[str, Check]) -> list[Line]:
    """Return the lines; one that follows from another has that one's name as its `cause`, and no remedy.

    A line that has not been fine for longer than another does not follow from it.
    """
    by_name = {line.name: line for line in lines}

    def cause_of(name: str) -> str:
        """Return the first cause of a line, or an empty string if it follows from nothing."""
        needs = checks[name].needs if name in checks else ()
        if by_name[name].data.get("waits") or (by_name[name].is_unfinished and "database" in needs):
            needs = (*needs, "queries")
        if by_name[name].data.get("late_work"):
            needs = (*needs, *LATE_WORK_NEEDS)
        for needed in needs:
            line = by_name.get(needed)
            if line is not None and line.stops_others and not _is_older(by_name[name], line):
                return cause_of(needed) or needed
        return ""

    found = []
    for line in lines:
        cause = "" if line.level is Level.FINE else cause_of(line.name)
        found.append(replace(line, cause=cause, remedy="") if cause else line)
    return found


def _is_older(line: Line, cause: Line) -> bool:
    return line.bad_for is not None and cause.bad_for is not None and line.bad_for > cause.bad_for + GRACE


def find_root(lines: Sequence[Line]) -> Line | None:
    """Return the line to look at first, or None if all is fine.

    That is the one of which the line itself or one that follows from it is the most severe of all, and of several the
    one from which most lines follow. A check that did not finish is never the root: if there are only such, the line
    says that the machine is busy.
    """
    if unfinished := find_unfinished(lines):
        return unfinished
    consequences: dict[str, list[Level]] = {}
    for line in lines:
        consequences.setdefault(line.cause or line.name, []).append(line.level)
    return min(
        (line for line in lines if line.level is not Level.FINE and not line.cause),
        key=lambda line: (
            line.is_unfinished,
            -worst(consequences[line.name]).severity,
            -len(consequences[line.name]),
            -line.level.severity,
        ),
        default=None,
    )


def describe_root(lines: Sequence[Line]) -> str:
    """Return the sentence about `find_root` with its remedy: the cause of other lines, or that checks did not finish.

    If checks did not finish, it names the only finding of the others. Return an empty string if no line follows from
    another: then nothing tells which of the findings to look at first.
    """
    root = find_root(lines)
    if root is None:
        return ""
    if root.is_unfinished:
        return f"{root.text}\n→ {root.command}"
    number = sum(line.cause == root.name for line in lines)
    unfinished = sum(line.is_unfinished for line in lines)
    found = sum(line.level is not Level.FINE and not line.is_unfinished for line in lines)
    if number:
        others = "1 other line follows" if number == 1 else f"{number} other lines follow"
        return f"root cause: {root.name}: {root.text} ({others} from it)\n→ {root.command}"
    if any(line.cause for line in lines):
        return f"most severe: {root.name}: {root.text} (nothing follows from it)\n→ {root.command}"
    if unfinished and found == 1:
        return f"root cause: {root.name}: {root.text} ({_count_checks(unfinished)} did not finish)\n→ {root.command}"
    return ""


def find_unfinished(lines: Sequence[Line]) -> Line | None:
    """Return a line about the checks that did not finish, or None if there are none or any check found something.

    If a query of one waited, that is the reason: a lock that is younger than HEALTH_LOCK_SECONDS is no finding yet.
    """
    failing = [line for line in lines if line.level is not Level.FINE]
    if not failing or not all(line.is_unfinished for line in failing):
        return None
    names = ", ".join(line.name for line in failing)
    name, why, remedy = "health", "the machine is busy", "manage.py health"
    if waiting := [line for line in failing if line.data.get("waits")]:
        name, why, remedy = "database", waiting[0].text, waiting[0].remedy
    text = f"{why}: {_count_checks(len(failing))} did not finish in time: {names}"
    return Line(name, Level.UNKNOWN, text, remedy, is_unfinished=True)


def _count_checks(number: int) -> str:
    return "1 check" if number == 1 else f"{number} checks"
