"""A stand-in for Stripe that the real SDK speaks to: intents, refunds, and the events it would send."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

from tests.fakes.provider import Answer, Document, FakeProvider

SECRET = "whsec_the_first_secret"
KEY = "sk_test_canarykeyofthetests"


def signature(body: bytes, *, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    moment = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={moment},v1={digest}"}


class FakeStripe(FakeProvider):
    def __init__(self) -> None:
        super().__init__()
        self.intents: dict[str, Document] = {}
        self.refunds: dict[str, Document] = {}
        self.by_key: dict[str, Document] = {}
        #: What a new refund's status is.
        self.refund_status = "succeeded"

    def answer(self, method: str, path: str, values: Document, headers: dict[str, str]) -> Answer:
        if headers.get("Authorization") != f"Bearer {KEY}":
            return 401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}}
        if method == "GET" and path == "/v1/refunds":
            found = [refund for refund in self.refunds.values() if refund["payment_intent"] == values["payment_intent"]]
            return 200, {"object": "list", "data": found, "has_more": False, "url": path}
        if method == "GET":
            intent = self.intents.get(path.rsplit("/", 1)[-1])
            return (200, intent) if intent else (404, {"error": {"code": "resource_missing", "message": "none"}})
        key = headers.get("Idempotency-Key", "")
        if key in self.by_key:
            return 200, self.by_key[key]
        made = self._intent(values) if path == "/v1/payment_intents" else self._refund(values)
        if isinstance(made, str):
            return 400, {"error": {"type": "invalid_request_error", "code": made, "message": made}}
        self.by_key[key] = made
        return 200, made

    def _intent(self, values: Document) -> Document:
        pk = self.next_id("pi")
        self.intents[pk] = {
            "id": pk,
            "object": "payment_intent",
            "amount": int(values["amount"]),
            "amount_received": 0,
            "currency": values["currency"],
            "status": "requires_payment_method",
            "client_secret": f"{pk}_secret_canaryofthetests",
            "metadata": {"order_id": values["metadata[order_id]"]},
            "latest_charge": None,
        }
        return self.intents[pk]

    def _refund(self, values: Document) -> Document | str:
        intent = self.intents[values["payment_intent"]]
        back = sum(
            refund["amount"]
            for refund in self.refunds.values()
            if refund["payment_intent"] == intent["id"] and refund["status"] != "failed"
        )
        if back + int(values["amount"]) > intent["amount_received"]:
            return "charge_already_refunded"
        return self.refunded(intent["id"], int(values["amount"]), refund_id=values["metadata[refund_id]"])

    # What people and the provider do

    def pay(self, intent_id: str) -> Document:
        intent = self.intents[intent_id]
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": self.next_id("ch"),
        }
        return intent

    def refunded(self, intent_id: str, amount: int, *, refund_id: str = "", status: str = "") -> Document:
        intent = self.intents[intent_id]
        refund = {
            "id": self.next_id("re"),
            "object": "refund",
            "amount": amount,
            "currency": intent["currency"],
            "payment_intent": intent_id,
            "charge": intent["latest_charge"],
            "status": status or self.refund_status,
            "metadata": {"refund_id": refund_id} if refund_id else {},
        }
        self.refunds[refund["id"]] = refund
        return refund

    def event(self, type: str, about: Document, **more: Any) -> bytes:
        event = {
            "id": self.next_id("evt"),
            "object": "event",
            "type": type,
            "created": int(time.time()),
            "livemode": False,
            "data": {"object": about},
            **more,
        }
        return json.dumps(event).encode()
