"""Every page of the admin, in light and dark and at two widths, in a real browser."""

from __future__ import annotations

import os

from tests.browser.conftest import PASSWORD
from tests.browser.pages import Console


def test_every_page_is_readable_accessible_and_quiet_at_both_widths_and_in_both_themes(console: Console) -> None:
    only = os.environ.get("ONLY", "")
    console.open("login", "/admin/")
    console.examine("login")
    console.log_in("operator@example.org", PASSWORD)
    for name, address in console.addresses.items():
        if any(part in name for part in only.split(",")):
            console.open(name, address)
            console.examine(name)
    assert not console.problems, "\n" + "\n".join(console.problems)
