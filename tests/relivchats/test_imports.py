"""What a process imports when it starts: an operator waits for each command."""

from __future__ import annotations

import subprocess
import sys

from tests.relivchats.test_manage import ROOT

#: Takes 0.4 s to import, and no command needs it before it is asked for.
IMPORTED_LATE = (
    *("chats.exports.detection", "chats.pseudonyms", "chats.search", "chats.statistics", "insights.safety"),
    *("ops.health", "razorpay", "requests", "rest_framework.views", "stripe", "unfold.admin"),
)


def run(program: str) -> str:
    """Return what a program prints that sets up Django first."""
    program = f"import sys, django\ndjango.setup()\nfrom django.contrib import admin\n{program}"
    environment = {"cwd": ROOT, "timeout": 120, "check": True, "capture_output": True, "text": True}
    return subprocess.run([sys.executable, "-c", program], **environment).stdout  # type: ignore[call-overload, no-any-return]


def test_a_command_starts_without_pages_parsers_and_clients() -> None:
    assert run(f"print([name for name in {IMPORTED_LATE} if name in sys.modules])") == "[]\n"


def test_the_pages_of_all_apps_are_registered_with_the_addresses_and_for_the_checks() -> None:
    count = "print(len(admin.site._registry))"
    with_urls = run(f"import relivchats.urls\n{count}")
    assert int(with_urls) > 30
    assert (
        run(f"from relivchats.staff.admin_config import check_pages\ncheck_pages(app_configs=None)\n{count}")
        == with_urls
    )
