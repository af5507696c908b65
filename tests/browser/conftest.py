"""One web server, one browser and one login for all tests of this directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from relivchats.accounts.models import User
from tests.admin import everything
from tests.browser import synthetic
from tests.browser.addresses import page_addresses
from tests.browser.pages import Console
from tests.ops import rows
from tests.processes import serving_web

PASSWORD = "correct horse battery"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test of this directory the marker, and the database that its module fills."""
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.django_db)


@pytest.fixture(scope="module", autouse=True)
def beside_an_event_loop() -> Iterator[None]:
    """Let Django use the database in this thread, in which Playwright runs an event loop. No query runs in the loop."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture(scope="module")
def console(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Console]:
    """Open the login page of an installation with a month of data, as a superuser who knows the password."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "install chromium: apt-get install chromium"
    with django_db_blocker.unblock():
        User.objects.create_superuser("operator@example.org", PASSWORD)
        synthetic.create()
        everything.one_of_each(1)
        rows.everything_alive()
        addresses = page_addresses()
        connections.close_all()
    try:
        with serving_web(tmp_path_factory.mktemp("web"), database=_database()) as port, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            screenshots = os.environ.get("SCREENSHOTS")
            yield Console(
                browser,
                address=f"http://127.0.0.1:{port}",
                addresses=addresses,
                screenshots=Path(screenshots) if screenshots else None,
            )
            browser.close()
    finally:
        with django_db_blocker.unblock():
            call_command("flush", verbosity=0, interactive=False)
            connections.close_all()


def _database() -> str:
    return str(connections["default"].settings_dict["NAME"])
