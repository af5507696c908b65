"""Users and their API tokens."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client

from relivchats.accounts import tokens
from relivchats.accounts.models import AccessToken, User
from relivchats.clock import now
from relivchats.staff.models import AuditEntry

pytestmark = pytest.mark.django_db


def token_of(email: str) -> str:
    out = io.StringIO()
    call_command("token", email, stdout=out)
    return out.getvalue()


def me(token: str, **headers: str) -> Any:
    return Client().get("/api/me", headers={"Authorization": f"Bearer {token}", **headers}, secure=True)


def test_the_command_creates_the_user_and_prints_only_the_token() -> None:
    printed = token_of("Ann@Example.org")
    assert printed.startswith("rc_")
    assert printed.count("\n") == 1
    person = me(printed.strip()).json()
    assert person.keys() == {"id", "email", "created_at", "limits"}
    assert person["email"] == "ann@example.org"


def test_a_second_token_is_for_the_same_person_and_leaves_the_first_valid() -> None:
    first, second = (token_of("ann@example.org").strip() for _ in range(2))
    assert first != second
    assert me(first).json() == me(second).json()
    assert User.objects.count() == 1


@pytest.mark.parametrize("email", ["ann", "", "ann@", "a b@example.org"])
def test_an_invalid_address_creates_no_user(email: str) -> None:
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


def test_the_token_of_an_inactive_user_is_refused() -> None:
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


def test_a_browser_session_can_read_and_needs_its_csrf_token_to_write() -> None:
    user = User.objects.create_user("ann@example.org")
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user)
    assert browser.get("/api/me", secure=True).json()["email"] == "ann@example.org"
    response = browser.post("/api/insights/unlock", {}, content_type="application/json", secure=True)
    assert (response.status_code, response["Content-Type"]) == (403, "application/problem+json")


def test_a_header_of_another_scheme_leaves_a_signed_in_browser_signed_in() -> None:
    browser = Client()
    browser.force_login(User.objects.create_user("ann@example.org"))
    headers = {"Authorization": "Basic YW5uOnB3"}
    assert browser.get("/api/me", headers=headers, secure=True).json()["email"] == "ann@example.org"
    assert Client().get("/api/me", headers=headers, secure=True).status_code == 401


def test_two_users_cannot_have_addresses_that_differ_only_in_case() -> None:
    User.objects.create_user("ann@example.org")
    with pytest.raises(IntegrityError), transaction.atomic():
        User(email="ANN@example.org").save()


def command(*words: str) -> str:
    out = io.StringIO()
    call_command("token", *words, stdout=out)
    return out.getvalue()


def test_a_revoked_token_is_refused_and_the_others_stay_valid() -> None:
    first, second = (token_of("ann@example.org").strip() for _ in range(2))
    ids = [line.split()[0] for line in command("ann@example.org", "--list").splitlines()[3:]]
    assert command("ann@example.org", "--revoke", ids[0], "--reason", "lost") == "1 revoked\n"
    assert (me(first).status_code, me(second).status_code) == (401, 200)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_id, entry.reason, entry.done) == ("revoke token", ids[0], "lost", True)
    with pytest.raises(CommandError, match="revoked before"):
        command("ann@example.org", "--revoke", ids[0])


def test_a_script_reads_the_token_from_json() -> None:
    token = json.loads(command("ann@example.org", "--json"))["token"]
    assert me(token).status_code == 200
    (row,) = json.loads(command("ann@example.org", "--list", "--json"))["rows"]
    assert json.loads(command("ann@example.org", "--revoke", str(row["id"]), "--json"))["revoked"] == 1


def test_all_tokens_of_a_person_can_be_revoked_at_once() -> None:
    mine = [token_of("ann@example.org").strip() for _ in range(3)]
    other = token_of("bob@example.org").strip()
    assert command("ann@example.org", "--revoke-all") == "3 revoked\n"
    assert [me(token).status_code for token in (*mine, other)] == [401, 401, 401, 200]
    assert me(token_of("ann@example.org").strip()).status_code == 200, "a new one is valid"


def test_the_list_of_tokens_shows_no_token() -> None:
    token = token_of("ann@example.org").strip()
    listed = command("ann@example.org", "--list")
    assert listed.splitlines()[2].split() == ["id", "created", "revoked"]
    assert token not in listed
    assert tokens.digest(token) not in listed


def test_nobody_revokes_a_token_of_another_person() -> None:
    token = token_of("bob@example.org").strip()
    token_of("ann@example.org")
    bobs = AccessToken.objects.get(user__email="bob@example.org")
    with pytest.raises(CommandError, match="no token"):
        command("ann@example.org", "--revoke", str(bobs.pk))
    with pytest.raises(CommandError, match="no user"):
        command("eve@example.org", "--revoke-all")
    assert me(token).status_code == 200
    assert not User.objects.filter(email="eve@example.org").exists()


def test_staff_revoke_tokens_with_a_reason() -> None:
    token = token_of("ann@example.org").strip()
    row = AccessToken.objects.get()
    staff = Client()
    staff.force_login(User.objects.create_superuser("staff@example.org", "a long password"))
    form = {"action": "revoke", "_selected_action": [row.pk]}
    asked = staff.post("/admin/accounts/accesstoken/", form, secure=True)
    assert "refused from now on" in asked.content.decode()
    assert me(token).status_code == 200
    staff.post("/admin/accounts/accesstoken/", form | {"reason": "lost phone"}, secure=True)
    assert me(token).status_code == 401
    assert AuditEntry.objects.get().reason == "lost phone"
