"""docs/ledger.md tells of every guard of the ledger and of webhooks which test misses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import mutations

PAGE = (mutations.REPOSITORY / "docs" / "ledger.md").read_text()


@pytest.mark.parametrize("module", mutations.MODULES)
def test_the_page_has_a_row_for_each_guard_and_no_other(module: str) -> None:
    _, _, table = PAGE.partition(f"| of `{Path(module).name}` | without |")
    rows = [line.split(" | ")[:2] for line in table.split("\n\n")[0].splitlines() if line.startswith("| `")]
    source = (mutations.REPOSITORY / module).read_text()
    guards = [[f"| `{mutant.function}`", f"`{mutant.guard}`"] for mutant in mutations.mutants(source)]
    assert sorted(rows) == sorted(guards)
