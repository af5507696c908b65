from __future__ import annotations

import csv
import io
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

from billing import ledger
from billing.models import CreditTransaction, Wallet
from billing.serializers import DESCRIPTIONS
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from tests.billing.conftest import Buy, Hold, MakeWallet

pytestmark = pytest.mark.django_db


class Api:
    def __init__(self, wallet: Wallet) -> None:
        assert wallet.user is not None
        self.headers = {"Authorization": f"Bearer {tokens.issue(wallet.user)}"}

    def get(self, path: str, *, status: int = 200) -> Any:
        parts = urlsplit(path)
        response = Client().get(f"{parts.path}?{parts.query}", headers=self.headers, secure=True)
        assert response.status_code == status, response.content
        return response.json()


def buy_repeatedly(wallet: Wallet, count: int, *, buy: Buy) -> Api:
    """Buy 1, 2, 3, … coins, and return a client of the wallet's owner."""
    for coins in range(1, count + 1):
        buy(wallet, coins)
    return Api(wallet)


def amounts(page: Any) -> list[int]:
    return [line["amount"] for line in page["results"]]


def test_the_balance_shows_owned_held_and_spendable_coins(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    hold(wallet, 400)
    assert Api(wallet).get("/api/credits/balance") == {
        "user_id": str(wallet.user_id),
        "balance": 450,
        "reserved": 400,
        "spendable": 50,
        "owed": 0,
        "owed_for": [],
    }


def test_a_person_without_a_wallet_gets_one_on_the_first_request() -> None:
    (user,) = User.objects.bulk_create([User(email="ann@example.org")])
    client = Client(headers={"Authorization": f"Bearer {tokens.issue(user)}"})
    assert client.get("/api/credits/balance", secure=True).json()["balance"] == 50


def test_a_transaction_shows_the_movement_without_actor_or_reason(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=50)
    ledger.adjust(wallet=wallet, amount=400, actor="user 7", reason="an internal note", idempotency_key="a")
    reservation = hold(wallet, 400)
    unlock = ledger.capture(reservation=reservation, coins=350)
    first, second, third = Api(wallet).get("/api/credits/transactions")["results"]
    assert first == {
        "id": unlock.pk,
        "type": "insight_unlock",
        "amount": -350,
        "balance_after": 100,
        "description": "Insights unlocked",
        "reservation_id": str(reservation.pk),
        "order_id": None,
        "created_at": unlock.created_at.isoformat().replace("+00:00", "Z"),
    }
    assert (second["description"], second["amount"], second["reservation_id"]) == ("Corrected by our team", 400, None)
    assert (third["description"], third["amount"]) == ("Welcome coins", 50)
    assert "note" not in str(second)


def test_every_type_of_transaction_has_a_description() -> None:
    assert set(DESCRIPTIONS) == set(CreditTransaction.Type)


def test_following_next_returns_every_transaction_once_while_new_ones_arrive(make_wallet: MakeWallet, buy: Buy) -> None:
    wallet = make_wallet(coins=50)
    api = buy_repeatedly(wallet, 5, buy=buy)
    page = api.get("/api/credits/transactions?limit=2")
    assert page["previous"] is None
    seen = amounts(page)
    buy(wallet, 99)
    while page["next"]:
        page = api.get(page["next"])
        seen += amounts(page)
    assert seen == [5, 4, 3, 2, 1, 50]
    assert amounts(api.get(page["previous"])) == [3, 2]


def test_limit_and_offset_paginate_and_count(make_wallet: MakeWallet, buy: Buy) -> None:
    api = buy_repeatedly(make_wallet(coins=50), 5, buy=buy)
    page = api.get("/api/credits/transactions?limit=2&offset=2")
    assert (page["count"], amounts(page)) == (6, [3, 2])
    last = api.get(page["next"])
    assert (amounts(last), last["next"]) == ([1, 50], None)
    first = api.get(page["previous"])
    assert (first["count"], amounts(first), first["previous"]) == (6, [5, 4], None)
    assert amounts(api.get("/api/credits/transactions?offset=100")) == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "offset=-1", "offset=x", "offset=99999999999999999999", "cursor=zz"]
)
def test_a_malformed_page_is_rejected_with_the_parameter_name(make_wallet: MakeWallet, query: str) -> None:
    problem = Api(make_wallet()).get(f"/api/credits/transactions?{query}", status=422)
    assert problem["errors"][0]["pointer"] == "#/" + query.partition("=")[0]
    assert problem["error_code"] == "ERR_1001"


def test_a_person_sees_only_their_own_coins(make_wallet: MakeWallet) -> None:
    ann, ben = make_wallet(coins=450), make_wallet(coins=50)
    page = Api(ben).get("/api/credits/transactions?offset=0")
    assert page["count"] == ben.transactions.count()
    assert Api(ben).get("/api/credits/balance")["user_id"] != str(ann.user_id)


@pytest.mark.parametrize("path", ["/api/credits/balance", "/api/credits/transactions"])
def test_every_coin_endpoint_requires_a_token(path: str) -> None:
    response = Client().get(path, secure=True)
    assert (response.status_code, response.json()["error_code"]) == (401, "ERR_1003")


def test_a_statement_can_be_filtered_by_type_and_time(make_wallet: MakeWallet, buy: Buy) -> None:
    wallet = make_wallet(coins=50)
    api = buy_repeatedly(wallet, 3, buy=buy)
    first, second, third = wallet.transactions.filter(type="purchase").order_by("sequence")
    assert amounts(api.get("/api/credits/transactions?type=signup_bonus")) == [50]
    assert amounts(api.get("/api/credits/transactions?type=refund")) == []
    since, until = format_time(second), format_time(third)
    assert amounts(api.get(f"/api/credits/transactions?from={since}")) == [3, 2]
    assert amounts(api.get(f"/api/credits/transactions?from={since}&to={until}")) == [2]
    page = api.get(f"/api/credits/transactions?type=purchase&to={until}&limit=1")
    assert amounts(page) + amounts(api.get(page["next"])) == [2, 1]
    assert first.amount == 1
    assert amounts(api.get("/api/credits/transactions?to=2020-01-01")) == []
    page = api.get("/api/credits/transactions?type=purchase&offset=1")
    assert (page["count"], amounts(page)) == (3, [2, 1])


def format_time(line: CreditTransaction) -> str:
    return line.created_at.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("query", ["type=gift", "from=yesterday", "to=9"])
@pytest.mark.parametrize("path", ["/api/credits/transactions", "/api/credits/transactions.csv"])
def test_a_malformed_filter_is_rejected_with_the_parameter_name(make_wallet: MakeWallet, path: str, query: str) -> None:
    problem = Api(make_wallet()).get(f"{path}?{query}", status=422)
    assert problem["errors"][0]["pointer"] == "#/" + query.partition("=")[0]
    assert query.startswith("type") or "or a day, such as 2026-01-31" in str(problem["errors"])


def download(wallet: Wallet, query: str = "", **headers: str) -> tuple[Any, list[list[str]]]:
    client = Client(headers={**Api(wallet).headers, **headers})
    response: Any = client.get(f"/api/credits/transactions.csv{query}", secure=True)
    assert response.status_code == 200
    return response, list(csv.reader(io.StringIO(b"".join(response.streaming_content).decode(), newline="")))


def test_a_statement_is_a_csv_file_with_numeric_amounts(make_wallet: MakeWallet, hold: Hold, buy: Buy) -> None:
    wallet = make_wallet(coins=50)
    buy(wallet, 400)
    unlock = ledger.capture(reservation=hold(wallet, 400), coins=350)
    response, (header, *lines) = download(wallet, Accept="text/csv")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="coins-\d{4}-\d\d-\d\d\.csv"', response["Content-Disposition"])
    assert header[:6] == ["id", "created_at", "type", "description", "amount", "balance_after"]
    assert header[6:] == ["reservation_id", "order_id"]
    assert lines[0] == [
        str(unlock.pk),
        unlock.created_at.isoformat(),
        "insight_unlock",
        "Insights unlocked",
        "-350",
        "100",
        str(unlock.reservation_id),
        "",
    ]
    assert (lines[1][3], lines[1][7]) == ("Coins bought: Starter", str(wallet.orders.get().pk))
    assert [line[4] for line in lines] == ["-350", "400", "50"]
    assert [line[2] for line in download(wallet, "?type=purchase")[1][1:]] == ["purchase"]


def test_a_spreadsheet_formula_is_neutralized(make_wallet: MakeWallet, monkeypatch: pytest.MonkeyPatch) -> None:
    wallet = make_wallet(coins=50)
    for first in "=+-@\t\r\n":
        monkeypatch.setitem(DESCRIPTIONS, CreditTransaction.Type.SIGNUP_BONUS, f"{first}1+1")
        assert download(wallet)[1][1][3] == f"'{first}1+1"


def test_a_statement_contains_only_its_owners_transactions(make_wallet: MakeWallet) -> None:
    make_wallet(coins=450)
    ben = make_wallet(coins=50)
    assert len(download(ben)[1]) == 1 + ben.transactions.count()
    assert Client().get("/api/credits/transactions.csv", secure=True).status_code == 401
