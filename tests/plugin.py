"""Start real servers for the test run, in a directory of its own, before Django reads the settings.

It is registered with `-p tests.plugin` (pyproject.toml), because pytest-django loads the settings before any
conftest.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from relivchats import embedded
from relivchats.crypto import Keyring
from relivchats.supervisor import locked

PREFIX = "relivchats-tests-"
LEFT_FOR_SECONDS = 600
#: Tests send many requests from one address. Those of a limit set it.
NO_RATE_LIMITS = dict.fromkeys(
    (
        "REQUESTS_PER_MINUTE",
        "UPLOADS_PER_HOUR",
        "UNLOCKS_PER_MINUTE",
        "UNLOCKS_PER_HOUR",
        "MAX_OPEN_INSIGHTS_PER_USER",
        "MAX_QUEUED_INSIGHTS",
    ),
    "0",
)
_servers = contextlib.ExitStack()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    _remove_leftovers()
    if shared := os.environ.get("RELIVCHATS_TEST_DATA"):
        # Servers that outlive the run: tests/mutations.py runs many, one after another.
        directory = Path(shared)
    else:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        # If root runs the tests, the servers run as another user, who must be able to enter the directory.
        directory.chmod(0o711)
        _servers.callback(shutil.rmtree, directory, ignore_errors=True)
    os.environ.update(RELIVCHATS_DATA=str(directory), RELIVCHATS_FSYNC="off")
    # Never run the tests against servers that the shell names.
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    _servers.enter_context(embedded.running())
    os.environ.update(
        DATABASE_URL=embedded.database_url(),
        REDIS_URL=embedded.redis_url(),
        SECRET_KEY=embedded.secret("django", Keyring.new_secret),
        ENCRYPTION_KEYS=embedded.keyring(Keyring.new_text),
        HTTPS_ONLY="false",
        **NO_RATE_LIMITS,
    )


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    _servers.close()


def _remove_leftovers() -> None:
    """Delete the directories of killed test runs. Their servers have stopped by themselves."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            users = directory / "run" / "postgres.users"
            if users.stat().st_mtime < time.time() - LEFT_FOR_SECONDS:
                with locked(users, wait=False) as unused:
                    if unused:
                        shutil.rmtree(directory, ignore_errors=True)
