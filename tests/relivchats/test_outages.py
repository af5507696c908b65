"""Pages and the API while the database is down."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client

from billing.payments.models import PaymentOrder
from billing.payments.providers import sandbox
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from tests.processes import ServerHandle


@pytest.mark.django_db(transaction=True)
def test_every_page_is_a_503_that_says_when_to_retry_while_the_database_is_down(
    postgres: ServerHandle, settings: Any
) -> None:
    settings.PAYMENTS_SANDBOX = True
    staff = User.objects.create_user("staff@example.org", is_staff=True, is_superuser=True)
    signed_in = Client(raise_request_exception=False, headers={"Authorization": f"Bearer {tokens.issue(staff)}"})
    signed_in.force_login(staff)
    checkout = sandbox.Sandbox().create_order(PaymentOrder()).checkout_path
    login = {"username": staff.email, "password": "a wrong password"}
    connection.close()
    with postgres.down():
        answers = {
            "checkout": signed_in.get(checkout),
            "payment": signed_in.post(checkout, {"choice": "pay"}),
            "overview": signed_in.get("/admin/"),
            "list": signed_in.get("/admin/accounts/user/"),
            "login": Client(raise_request_exception=False).post("/admin/login/", login),
            "API": signed_in.get("/api/chats"),
        }
        connection.close()
    for name, answer in answers.items():
        assert (answer.status_code, answer["Retry-After"]) == (503, "5"), name
        assert "The database did not answer in time. Try again in a few seconds." in answer.content.decode(), name
        is_page = answer["Content-Type"].startswith("text/html")
        assert is_page == (name != "API")
    assert signed_in.get(checkout).status_code == 404, "it is back"
