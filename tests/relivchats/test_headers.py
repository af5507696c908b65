"""Security headers: what a browser may do with each kind of response."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from relivchats.rest import LineRenderer

pytestmark = pytest.mark.django_db


def read_policy(response: object) -> dict[str, str]:
    header: str = response["Content-Security-Policy"]  # type: ignore[index]
    return dict(directive.split(" ", 1) for directive in header.split("; "))


@pytest.mark.parametrize("path", ["/", "/api/me", "/api/docs", "/api/nothing", "/nothing", "/admin/login/", "/health"])
def test_no_response_can_be_framed_cached_or_run_a_foreign_script(client: Client, path: str) -> None:
    response = client.get(path, secure=True)
    policy = read_policy(response)
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe-inline" not in policy.get("script-src", "")
    assert set(policy.get("script-src", "'self'").split()) <= {"'self'", "'unsafe-eval'"}
    assert "no-store" in response["Cache-Control"]
    assert "camera=()" in response["Permissions-Policy"]
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"


def test_a_document_of_the_api_runs_nothing_even_as_a_page(client: Client) -> None:
    policy = read_policy(client.get("/api/categories", secure=True))
    assert policy == dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'")


@pytest.mark.parametrize(
    ("path", "scripts", "styles"),
    [
        ("/admin/login/", "'self' 'unsafe-eval'", "'self' 'unsafe-inline'"),
        ("/api/docs", "'self'", "'self' 'unsafe-inline'"),
        ("/nothing", "'self'", "'self'"),
    ],
)
def test_a_page_may_do_what_its_framework_needs_and_no_more(
    client: Client, path: str, scripts: str, styles: str
) -> None:
    policy = read_policy(client.get(path, secure=True))
    assert (policy["script-src"], policy["style-src"]) == (scripts, styles)


def test_no_template_needs_an_exception_from_the_policy() -> None:
    root = Path(settings.BASE_DIR)
    templates = [
        path for app in ("relivchats", "billing", "chats", "insights", "ops") for path in root.glob(f"{app}/**/*.html")
    ]
    assert len(templates) > 10
    inline = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:")
    assert {path.name: found.group() for path in templates if (found := inline.search(path.read_text()))} == {}


def test_markup_in_an_answer_is_escaped(client: Client) -> None:
    body = LineRenderer().render({"title": '<script>"\\<'})
    assert b"<" not in body
    assert json.loads(body) == {"title": '<script>"\\<'}
    refused = client.get("/api/chats/<b>", secure=True)
    assert b"<" not in refused.content


def test_the_schema_is_sent_once(client: Client) -> None:
    first = client.get("/api/schema", secure=True, headers={"Accept": "text/html"})
    assert first.json()["openapi"].startswith("3.1")
    again = client.get("/api/schema", secure=True, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
