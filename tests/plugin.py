"""Real servers for the whole run: started before Django reads its settings, in a directory of this run alone.

Registered with `-p tests.plugin` (pyproject.toml), since pytest-django loads the settings before any conftest.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from relivchats import embedded
from relivchats.crypto import Keyring

_servers = contextlib.ExitStack()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    directory = Path(tempfile.mkdtemp(prefix="relivchats-tests-"))
    # The directory above the servers' own is entered by another user when root runs the tests.
    directory.chmod(0o711)
    _servers.callback(shutil.rmtree, directory, ignore_errors=True)
    os.environ.update(RELIVCHATS_DATA=str(directory), RELIVCHATS_FSYNC="off")
    # What the tests run against is never what the shell happens to name.
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    _servers.enter_context(embedded.running())
    os.environ.update(
        DATABASE_URL=embedded.database_url(),
        REDIS_URL=embedded.redis_url(),
        SECRET_KEY=embedded.secret("django", Keyring.new_secret),
        ENCRYPTION_KEYS=embedded.secret("keyring", Keyring.new_text),
        HTTPS_ONLY="false",
    )


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    _servers.close()
