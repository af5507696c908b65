"""The overview while the database does not answer: staff see why and what to run, and nobody else does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.db import OperationalError
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse

from ops import database, health
from ops.console import outage, overview
from ops.database import Fault
from relivchats.staff.reports import Level, Line, Report

# `health` records states with a connection of its own.
pytestmark = pytest.mark.django_db(transaction=True)

INDEX, FRAGMENT = "/admin/", "/admin/overview"


def freeze(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(database, "find_fault", lambda: Fault.FROZEN)


@pytest.mark.parametrize("path", [INDEX, FRAGMENT])
def test_staff_who_saw_the_overview_see_the_failure_and_its_remedy_without_the_database(
    desk: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    assert desk.get(path).status_code == 200
    freeze(monkeypatch)
    answer = desk.get(path)
    assert answer.status_code == 503
    assert outage.HEADER in answer.headers, "console.js shows it in place of the overview"
    assert answer["Cache-Control"] == "no-store"
    text = answer.content.decode()
    assert "Database: Postgres is frozen: it accepts connections and does not answer" in text
    assert "workers --restart postgres" in text
    monkeypatch.undo()
    assert desk.get(path).status_code == 200


def test_a_database_that_fails_during_the_request_is_explained_too(
    desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.get(INDEX)

    def fail(request: HttpRequest) -> None:
        raise OperationalError("connection failed: too many clients already")

    monkeypatch.setattr(overview, "context", fail)
    assert desk.get(FRAGMENT).status_code == 503


def test_all_tabs_share_one_run_of_the_checks(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.get(INDEX)
    freeze(monkeypatch)
    runs = []

    def report() -> Report:
        runs.append(1)
        return Report("Health", (Line("database", Level.CRITICAL, "it is frozen"),))

    monkeypatch.setattr(health, "report", report)

    def poll(number: int) -> int:
        tab = Client()
        tab.cookies = desk.cookies
        return tab.get(FRAGMENT).status_code

    with ThreadPoolExecutor(4) as tabs:
        assert set(tabs.map(poll, range(12))) == {503}
    assert len(runs) == 1
    outage.clear_cache()
    assert poll(12) == 503
    assert len(runs) == 2


@pytest.mark.parametrize("cookie", ["", "forged", "0190f5c4-0000-7000-8000-000000000000:1tq1Yx:signature"])
def test_nobody_else_sees_the_findings(monkeypatch: pytest.MonkeyPatch, cookie: str) -> None:
    freeze(monkeypatch)
    stranger = Client()
    if cookie:
        stranger.cookies[outage.COOKIE] = cookie
    for path in (INDEX, FRAGMENT):
        answer = stranger.get(path)
        assert answer.status_code == 302
        assert b"Postgres" not in answer.content


def test_the_cookie_is_for_the_admin_only_and_ends_with_the_session(desk: Client) -> None:
    desk.get(INDEX)
    cookie = desk.cookies[outage.COOKIE]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == (INDEX, True, "Strict")
    assert int(cookie["max-age"]) == settings.SESSION_COOKIE_AGE
    assert bool(cookie["secure"]) == settings.SESSION_COOKIE_SECURE
    desk.post(reverse("admin:logout"))
    assert desk.cookies[outage.COOKIE].value == ""


def test_the_cookie_of_an_old_session_shows_nothing(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.get(INDEX)
    freeze(monkeypatch)
    monkeypatch.setattr(settings, "SESSION_COOKIE_AGE", -1)
    desk.cookies.pop(settings.SESSION_COOKIE_NAME)
    assert desk.get(INDEX).status_code == 302
