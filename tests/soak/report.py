"""The result of a soak test, as tables and as JSON."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.soak.faults import Injected


@dataclass(frozen=True)
class Recovery:
    """How long a component took to work again after a kind of fault, in seconds."""

    faults: int
    p50: float | None = None
    p95: float | None = None
    max: float | None = None


@dataclass
class Report:
    """The counts of a run. `violations` must be empty."""

    seed: int
    minutes: float
    settled_after_seconds: float = 0.0
    load: tuple[float, ...] = ()
    people: int = 0
    erased: int = 0
    actions: int = 0
    slowest_answer_seconds: float = 0.0
    requests: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    recovery: Mapping[str, Recovery] = field(default_factory=dict)
    faults: Sequence[Injected] = ()
    log_errors: Mapping[str, int] = field(default_factory=dict)
    violations: Sequence[str] = ()

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def show(self) -> None:
        """Print it as tables."""
        console = Console(width=140)
        console.print(
            f"seed {self.seed}, {self.minutes:g} minutes, {self.people} people ({self.erased} erased),"
            f" {self.actions:,} actions; settled {self.settled_after_seconds:.0f} s after the last fault;"
            f" slowest answer {self.slowest_answer_seconds:.0f} s; load {self.load}"
        )
        recovery = Table("fault", "times", "p50 s", "p95 s", "max s", title="Faults, and the time until it works again")
        for kind, found in sorted(self.recovery.items()):
            times = ["–" if value is None else f"{value:.1f}" for value in (found.p50, found.p95, found.max)]
            recovery.add_row(kind, str(found.faults), *times)
        console.print(recovery)
        for title, groups in (("Requests by result", self.requests), ("Rows by status", self.rows)):
            table = Table("", "", title=title)
            for name, counts in sorted(groups.items()):
                table.add_row(name, ", ".join(f"{result} {count:,}" for result, count in sorted(counts.items())))
            console.print(table)
        if self.log_errors:
            console.print("Errors in the logs:", dict(self.log_errors))
        for violation in self.violations:
            console.print(f"VIOLATION {violation}", style="red", markup=False)
        console.print(f"{len(self.violations)} violations")


def summarize(injected: Sequence[Injected]) -> dict[str, Recovery]:
    """Return the recovery times by kind of fault, and of all together."""
    times: dict[str, list[float]] = defaultdict(list)
    for fault in injected:
        times[fault.kind] += [] if fault.recovered_after is None else [fault.recovered_after]
    counts = Counter(fault.kind for fault in injected)
    times["all"], counts["all"] = [value for kind in list(times) for value in times[kind]], len(injected)
    return {kind: _recovery(counts[kind], times[kind]) for kind in counts}


def _recovery(faults: int, seconds: Sequence[float]) -> Recovery:
    if not seconds:
        return Recovery(faults)
    ordered = sorted(seconds)
    return Recovery(faults, statistics.median(ordered), ordered[int(len(ordered) * 0.95)], ordered[-1])
