"""A stub server of Stripe for the real SDK: intents, refunds, and the events of its webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

from tests.fakes.provider import Answer, Document, FakeProvider

if TYPE_CHECKING:
    from billing.models import PaymentOrder

SECRET = "whsec_the_first_secret"
KEY = "sk_test_canarykeyofthetests"


def signature(body: bytes, *, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    moment = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={moment},v1={digest}"}


class FakeStripe(FakeProvider):
    name = "stripe"
    wrong_key = {"STRIPE_SECRET_KEY": "a wrong key"}
    paid_amount_field, event_time_field, refund_completed = "amount_received", "created", "succeeded"
    second_payment = {"latest_charge": "ch_again"}

    def __init__(self) -> None:
        super().__init__()
        self.intents: dict[str, Document] = {}
        #: The status of new refunds.
        self.refund_status = self.refund_completed

    def settings(self) -> dict[str, Any]:
        return {
            "STRIPE_SECRET_KEY": KEY,
            "STRIPE_PUBLISHABLE_KEY": "pk_test_thetests",
            "STRIPE_WEBHOOK_SECRETS": [SECRET, "whsec_the_next_secret"],
            "STRIPE_API_BASE": self.base_url,
        }

    def sign(self, body: bytes, *, event_id: str = "") -> dict[str, str]:
        return signature(body)

    def forged_headers(self, body: bytes) -> dict[str, dict[str, str]]:
        name, moment = "Stripe-Signature", int(time.time())
        signed = signature(body)[name]
        old = signature(body, at=moment - 999)[name].split(",")[1]
        return {
            "none": {},
            "empty": {name: ""},
            "another secret": signature(body, secret="whsec_guessed"),
            "another body": signature(body + b" "),
            "too old": signature(body, at=moment - 301),
            "too far ahead": signature(body, at=moment + 400),
            "an old signature with a newer time": {name: f"t={moment},{old}"},
            "another scheme": {name: signed.replace("v1=", "v0=")},
            "no time": {name: signed.split(",")[1]},
            "two times": {name: f"t=1,{signed}"},
            "a negative time": {name: signed.replace("t=", "t=-")},
            "not ASCII": {name: f"t={moment},v1=é"},
        }

    def order_ids(self) -> list[str]:
        return list(self.intents)

    def pay_order(self, order: PaymentOrder) -> Document:
        intent = self.intents[str(order.provider_order_id)]
        return intent if intent["status"] == "succeeded" else self.pay(intent["id"])

    def paid_events(self, order: PaymentOrder, change: Document) -> list[bytes]:
        return [self.order_event(order, "paid", amount=order.amount, change=change)]

    def order_event(self, order: PaymentOrder, kind: str, *, amount: int, change: Document) -> bytes:
        intent_id = str(order.provider_order_id)
        if kind in ("paid", "failed", "processing"):
            type = {"paid": "succeeded", "failed": "payment_failed"}.get(kind, kind)
            intent = self.pay_order(order) if kind == "paid" else self.intents[intent_id]
            return self.build_event(f"payment_intent.{type}", {**intent, **change})
        if kind == "refunded":
            self.pay_order(order)
            return self.build_event("refund.created", {**self.make_refund(intent_id, amount), **change})
        type, status = {"disputed": ("created", "needs_response")}.get(kind, ("closed", kind))
        dispute = {"id": f"dp_{intent_id}", "object": "dispute", "payment_intent": intent_id, "amount": amount}
        return self.build_event(f"charge.dispute.{type}", {**dispute, "currency": "usd", "status": status, **change})

    def refund_event(self, order: PaymentOrder, kind: str, **change: Any) -> bytes:
        return self.build_event(f"refund.{kind}", {**next(iter(self.refunds.values())), **change})

    def answer(self, method: str, path: str, values: Document, headers: dict[str, str]) -> Answer:
        if headers.get("Authorization") != f"Bearer {KEY}":
            return 401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}}
        if method == "GET" and path == "/v1/refunds":
            refunds = [
                refund for refund in self.refunds.values() if refund["payment_intent"] == values["payment_intent"]
            ]
            return 200, {"object": "list", "data": refunds, "has_more": False, "url": path}
        if method == "GET":
            intent = self.intents.get(path.rsplit("/", 1)[-1])
            return (200, intent) if intent else (404, {"error": {"code": "resource_missing", "message": "none"}})
        key = headers.get("Idempotency-Key", "")
        if key in self.by_key:
            return 200, self.by_key[key]
        create = self._intent if path == "/v1/payment_intents" else self._refund
        created = create(values)
        if isinstance(created, str):
            return 400, {"error": {"type": "invalid_request_error", "code": created, "message": created}}
        self.by_key[key] = created
        return 200, created

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
        refunded = sum(
            refund["amount"]
            for refund in self.refunds.values()
            if refund["payment_intent"] == intent["id"] and refund["status"] != "failed"
        )
        if refunded + int(values["amount"]) > intent["amount_received"]:
            return "charge_already_refunded"
        return self.make_refund(intent["id"], int(values["amount"]), refund_id=values["metadata[refund_id]"])

    # Actions of payers, and of the provider's dashboard

    def pay(self, intent_id: str) -> Document:
        intent = self.intents[intent_id]
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": self.next_id("ch"),
        }
        return intent

    def make_refund(self, intent_id: str, amount: int, *, refund_id: str = "", status: str = "") -> Document:
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

    def build_event(self, type: str, subject: Document, **fields: Any) -> bytes:
        event = {
            "id": self.next_id("evt"),
            "object": "event",
            "type": type,
            "created": int(time.time()),
            "livemode": False,
            "data": {"object": subject},
            **fields,
        }
        return json.dumps(event).encode()


Fake = FakeStripe
