"""One web server on one database for all tests of this directory."""

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

EMAIL, PASSWORD = "operator@example.org", "correct horse battery"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test of this directory the marker, and the database that its module fills."""
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.django_db)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Say what is missing before the servers and the data are prepared."""
    if _chromium() is None and any("tests/browser/" in item.nodeid for item in session.items):
        pytest.exit("the browser tests need Chromium; on Debian and Ubuntu: apt-get install chromium", returncode=1)


@pytest.fixture(scope="module")
def console(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Console]:
    """Serve an installation with a month of data, and yield its pages with the login of a superuser."""
    chromium = _chromium()
    assert chromium
    with django_db_blocker.unblock():
        operator = User.objects.create_superuser(EMAIL, PASSWORD)
        synthetic.create()
        everything.one_of_each(1)
        rows.everything_alive()
        addresses = page_addresses(operator)
        database = str(connections["default"].settings_dict["NAME"])
        connections.close_all()
    screenshots = os.environ.get("SCREENSHOTS")
    try:
        with serving_web(tmp_path_factory.mktemp("web"), database=database) as port:
            yield Console(
                chromium=chromium,
                address=f"http://127.0.0.1:{port}",
                addresses=addresses,
                email=EMAIL,
                password=PASSWORD,
                screenshots=Path(screenshots) if screenshots else None,
            )
    finally:
        with django_db_blocker.unblock():
            call_command("flush", verbosity=0, interactive=False)
            connections.close_all()


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)
