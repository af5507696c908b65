"""People, and the tokens by which their clients speak for them."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client

from relivchats.accounts import tokens
from relivchats.accounts.models import AccessToken, User
from relivchats.clock import now

pytestmark = pytest.mark.django_db


def token_of(email: str) -> str:
    out = io.StringIO()
    call_command("token", email, stdout=out)
    return out.getvalue()


def me(token: str, **headers: str) -> Any:
    return Client().get("/api/me", headers={"Authorization": f"Bearer {token}", **headers}, secure=True)


def test_the_command_makes_the_person_and_prints_the_token_alone() -> None:
    printed = token_of("Ann@Example.org")
    assert printed.startswith("rc_")
    assert printed.count("\n") == 1
    person = me(printed.strip()).json()
    assert person.keys() == {"id", "email", "created_at"}
    assert person["email"] == "ann@example.org"


def test_a_second_token_is_for_the_same_person_and_leaves_the_first_valid() -> None:
    first, second = (token_of("ann@example.org").strip() for _ in range(2))
    assert first != second
    assert me(first).json() == me(second).json()
    assert User.objects.count() == 1


@pytest.mark.parametrize("email", ["ann", "", "ann@", "a b@example.org"])
def test_what_is_not_an_address_makes_nobody(email: str) -> None:
    with pytest.raises(CommandError, match="not an e-mail address"):
        token_of(email)
    assert not User.objects.exists()


def test_tokens_are_stored_as_digests_only() -> None:
    token = token_of("ann@example.org").strip()
    stored = AccessToken.objects.values().get()
    assert token not in str(stored)
    assert stored["digest"] == tokens.digest(token)


def test_a_revoked_token_is_refused() -> None:
    token = token_of("ann@example.org").strip()
    AccessToken.objects.update(revoked_at=now())
    response = me(token)
    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")


def test_the_token_of_a_person_who_was_shut_out_is_refused() -> None:
    token = token_of("ann@example.org").strip()
    User.objects.update(is_active=False)
    assert me(token).status_code == 401


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_schemes_case_does_not_matter(scheme: str) -> None:
    token = token_of("ann@example.org").strip()
    response = Client().get("/api/me", headers={"Authorization": f"{scheme} {token}"}, secure=True)
    assert response.status_code == 200


def test_identity_comes_from_the_token_and_not_from_what_the_request_says() -> None:
    User.objects.create_user("bob@example.org")
    token = token_of("ann@example.org").strip()
    bob = str(User.objects.get(email="bob@example.org").pk)
    response = Client().get(
        f"/api/me?user_id={bob}", headers={"Authorization": f"Bearer {token}", "X-User-ID": bob}, secure=True
    )
    assert response.json()["email"] == "ann@example.org"


def test_a_signed_in_browser_may_read_and_needs_its_csrf_token_to_write() -> None:
    user = User.objects.create_user("ann@example.org")
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user)
    assert browser.get("/api/me", secure=True).json()["email"] == "ann@example.org"
    response = browser.post("/api/insights/unlock", {}, content_type="application/json", secure=True)
    assert (response.status_code, response["Content-Type"]) == (403, "application/problem+json")


def test_two_people_cannot_share_an_address_in_other_letters() -> None:
    User.objects.create_user("ann@example.org")
    with pytest.raises(IntegrityError), transaction.atomic():
        User(email="ANN@example.org").save()
