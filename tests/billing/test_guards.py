"""The pages that list guards have a row for each guard of their modules, with the test that fails without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import mutations

PAGES = {
    **dict.fromkeys(mutations.MODULES, "ledger.md"),
    "ops/health.py": "guards.md",
    **dict.fromkeys(mutations.GUARD_MODULES, "guards.md"),
    **dict.fromkeys(mutations.JOB_MODULES, "jobs.md"),
}


@pytest.mark.parametrize("module", PAGES)
def test_the_page_has_a_row_for_each_guard_and_no_other(module: str) -> None:
    page = (mutations.REPOSITORY / "docs" / PAGES[module]).read_text()
    _, _, table = page.partition(f"| of `{Path(module).name}` | without |")
    rows = [line.split(" | ")[:2] for line in table.split("\n\n")[0].splitlines() if line.startswith("| `")]
    source = (mutations.REPOSITORY / module).read_text()
    guards = [
        [f"| `{mutant.function}`", f"`{mutations.escape(mutant.guard)}`"]
        for mutant in mutations.mutants(module, source)
    ]
    assert sorted(rows) == sorted(guards)
