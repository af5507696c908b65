"""Failed logins and unknown tokens are limited, and a login leads to a page."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.test import Client

from relivchats import error_events, throttling
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from relivchats.error_events import EventQueue
from relivchats.throttling import client_address
from tests.processes import BrokerHandle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rate_clock")]

EMAIL, PASSWORD = "ann@example.org", "correct horse battery"
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def fast_passwords(settings: Any) -> None:
    """Hash passwords quickly: these tests count checks, and each takes a second with the real hasher."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def ann(fast_passwords: None) -> User:
    return User.objects.create_superuser(EMAIL, PASSWORD)


def login(email: str = EMAIL, password: str = PASSWORD, *, address: str = "198.51.100.1", **query: str) -> Any:
    return Client().post(
        "/admin/login/",
        {"username": email, "password": password},
        query_params=query,
        secure=True,
        REMOTE_ADDR=address,
    )


def me(token: str, *, address: str = "198.51.100.1") -> Any:
    return Client().get("/api/me", headers={"Authorization": f"Bearer {token}"}, secure=True, REMOTE_ADDR=address)


def test_a_login_without_a_next_page_leads_to_the_admin() -> None:
    response = login()
    assert (response.status_code, response["Location"]) == (302, "/admin/")


def test_the_admin_without_its_slash_is_redirected() -> None:
    response = Client().get("/admin?q=1", secure=True)
    assert (response.status_code, response["Location"]) == (302, "/admin/?q=1")


def test_an_account_is_closed_for_a_while_after_five_wrong_passwords(ann: User) -> None:
    statuses = [login(password=f"wrong {number}", address=f"198.51.100.{number}").status_code for number in range(5)]
    assert statuses == [200] * 5
    refused = login(EMAIL.upper(), address="203.0.113.9")
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 300
    assert "too many failed logins" in refused.content.decode()
    User.objects.create_superuser("bob@example.org", PASSWORD)
    assert login("bob@example.org").status_code == 302, "another account is open"


def test_operators_see_once_in_a_window_that_the_logins_of_a_person_are_refused(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = EventQueue()
    monkeypatch.setattr(error_events, "queue", queue)
    bob = User.objects.create_user("bob@example.org")
    for email in (EMAIL, "bob@example.org", "nobody@example.org"):
        for _ in range(6):
            login(email, password="wrong")
    events, _ = queue.take()
    assert [(event.event, event.user_id, event.code) for event in events[:2]] == [
        ("logins refused", ann.pk, "login-account"),
        ("logins refused", bob.pk, "login-account"),
    ]
    assert [event.user_id for event in events[2:]] == [None]


def test_an_unknown_account_is_refused_like_a_known_one() -> None:
    statuses = [login("nobody@example.org").status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]


def test_an_address_is_refused_after_too_many_failures_with_different_accounts(settings: Any) -> None:
    settings.LOGIN_FAILURES_PER_ADDRESS = 3
    assert [login(f"{number}@example.org").status_code for number in range(4)] == [200, 200, 200, 429]
    assert login().status_code == 429
    assert login(address="203.0.113.9").status_code == 302, "another address is open"


def test_successful_logins_are_not_counted() -> None:
    assert [login().status_code for _ in range(8)] == [302] * 8


def test_a_failed_check_that_says_nothing_about_the_password_uses_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(User, "check_password", lambda *_: 1 / 0)
        for _ in range(6):
            with pytest.raises(ZeroDivisionError):
                login()
    assert login().status_code == 302


def test_the_old_password_cannot_be_guessed_in_the_page_for_a_new_one(ann: User) -> None:
    client = Client()
    client.force_login(ann)
    form = {"old_password": "wrong", "new_password1": "a new long password", "new_password2": "a new long password"}
    statuses = [client.post("/admin/password_change/", form, secure=True).status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    assert client.get("/admin/password_change/", secure=True).status_code == 200
    assert Client().get("/admin/password_change/", secure=True).status_code == 302, "only for those who are logged in"


def test_a_new_password_needs_a_login() -> None:
    response = Client().post("/admin/password_change/", {"old_password": PASSWORD}, secure=True)
    assert response.status_code == 302
    assert response["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("credentials", [{}, {"username": EMAIL}, {"password": PASSWORD}, {"token": "rc_guess"}])
def test_incomplete_credentials_are_refused_and_count_as_no_failure(
    broker: BrokerHandle, credentials: dict[str, str]
) -> None:
    assert authenticate(None, **credentials) is None
    with broker.client as client:
        assert not client.keys("*login*")


def test_a_limit_of_zero_is_no_limit_of_logins(settings: Any) -> None:
    settings.LOGIN_FAILURES_PER_ADDRESS = settings.LOGIN_FAILURES_PER_ACCOUNT = 0
    assert [login(password="wrong").status_code for _ in range(7)] == [200] * 7


def test_a_check_without_a_request_is_limited_by_its_account(ann: User) -> None:
    assert authenticate(None, email=EMAIL, password=PASSWORD) == ann
    assert [authenticate(None, username=EMAIL, password="wrong") for _ in range(5)] == [None] * 5
    with pytest.raises(throttling.TooManyRequests):
        authenticate(None, username=EMAIL, password=PASSWORD)


def test_logins_are_limited_while_the_broker_is_down(settings: Any) -> None:
    settings.REDIS_URL = NOWHERE
    assert login().status_code == 302
    assert [login(password="wrong").status_code for _ in range(7)] == [200] * 5 + [429] * 2


def test_the_broker_learns_no_e_mail_address(broker: BrokerHandle) -> None:
    login(password="wrong")
    with broker.client as client:
        keys = [key.decode() for key in client.keys("*")]
    assert len([key for key in keys if "login" in key]) == 2
    assert not [key for key in keys if "ann" in key or "198.51" in key]


def test_an_address_that_guesses_tokens_is_refused_and_a_valid_token_still_passes(ann: User, settings: Any) -> None:
    settings.INVALID_TOKENS_PER_MINUTE = 3
    token = tokens.issue(ann)
    assert [me(f"rc_guess{number}").status_code for number in range(4)] == [401, 401, 401, 429]
    refused = me("rc_guess")
    assert (refused["Content-Type"], refused.json()["error_code"]) == ("application/problem+json", "ERR_1005")
    assert 0 < int(refused["Retry-After"]) <= 60
    assert me(token).status_code == 200
    assert me("rc_guess", address="203.0.113.9").status_code == 401, "another address is not affected"
    settings.REDIS_URL = NOWHERE
    assert me("rc_guess").status_code == 401


def test_health_answers_an_address_that_guesses_tokens(settings: Any) -> None:
    settings.INVALID_TOKENS_PER_MINUTE = 1
    guess = {"Authorization": "Bearer rc_guess"}
    statuses = {Client().get("/health", headers=guess, secure=True).status_code for _ in range(3)}
    assert statuses <= {200, 503}


@pytest.mark.parametrize(
    ("remote", "expected"), [("198.51.100.1", "198.51.100.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("", "")]
)
def test_an_ipv6_caller_is_known_by_its_network(rf: Any, remote: str, expected: str) -> None:
    assert client_address(rf.get("/", REMOTE_ADDR=remote)) == expected
