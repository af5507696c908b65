"""Attacks on real servers: others are served meanwhile, in a limited memory, which returns to the system.

The attacks are those of `python -m tests.benchmarks.abuse`, which measures the times; no time is asserted here.
"""

from __future__ import annotations

import resource
from pathlib import Path

import psutil
import pytest
from django.db import connection

from relivchats import serve
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from tests.benchmarks import abuse
from tests.processes import serving_web

pytestmark = [pytest.mark.abuse, pytest.mark.django_db(transaction=True)]

SECONDS = 30


@pytest.mark.parametrize("name", ["slow50", "idle", "uploads", "archives", "both"])
def test_others_are_served_during_an_attack(name: str, tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    other, *accounts = (tokens.issue(User.objects.create_user(f"{number}@example.org")) for number in range(21))
    with serving_web(tmp_path, database=connection.settings_dict["NAME"]) as port:
        web = next(process for process in psutil.Process().children() if serve.WEB_SERVER in process.cmdline())
        target = abuse.Target(port, accounts)
        result = abuse.run(abuse.ATTACKS[name], target, token=other, processes={"web": web}, seconds=SECONDS)
    assert result.peaks["web"] < 1024 * abuse.MIB
    assert result.after["web"] < 400 * abuse.MIB
    assert not {status for status in result.answers if status.startswith("5")} - {"503"}
    if name in ("uploads", "both"):
        # More than can be taken; some of them are.
        assert result.answers["503"]
        assert result.answers["200"] + result.answers["201"]
