"""A stub server of Razorpay for the real SDK: orders, payments, refunds, and the events of its webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

from tests.fakes.provider import Answer, Document, FakeProvider

if TYPE_CHECKING:
    from billing.models import PaymentOrder

SECRET = "the-first-razorpay-secret"
KEY_ID, KEY_SECRET = "rzp_test_thetests", "canarysecretofthetests"
_AUTHORISED = "Basic " + base64.b64encode(f"{KEY_ID}:{KEY_SECRET}".encode()).decode()


def signature(body: bytes, *, secret: str = SECRET, event_id: str = "") -> dict[str, str]:
    headers = {"X-Razorpay-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}
    return {**headers, "X-Razorpay-Event-Id": event_id} if event_id else headers


class FakeRazorpay(FakeProvider):
    name = "razorpay"
    wrong_key = {"RAZORPAY_KEY_SECRET": "a wrong key"}
    paid_amount_field, event_time_field, refund_completed = "amount", "created_at", "processed"
    second_payment = {"id": "pay_again"}
    requests_per_order = 2

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[str, Document] = {}
        self.payments: dict[str, Document] = {}
        self.refund_status = self.refund_completed

    def settings(self) -> dict[str, Any]:
        return {
            "RAZORPAY_KEY_ID": KEY_ID,
            "RAZORPAY_KEY_SECRET": KEY_SECRET,
            "RAZORPAY_WEBHOOK_SECRETS": [SECRET],
            "RAZORPAY_API_BASE": self.base_url,
        }

    def sign(self, body: bytes, *, event_id: str = "") -> dict[str, str]:
        return signature(body, event_id=event_id)

    def forged_headers(self, body: bytes) -> dict[str, dict[str, str]]:
        name = "X-Razorpay-Signature"
        return {
            "none": {},
            "empty": {name: ""},
            "another secret": signature(body, secret="guessed"),
            "another body": signature(body + b" "),
            "half": {name: signature(body)[name][:32]},
            "not ASCII": {name: "é" * 64},
            "the API's secret": signature(body, secret=KEY_SECRET),
        }

    def order_ids(self) -> list[str]:
        return list(self.orders)

    def pay_order(self, order: PaymentOrder) -> Document:
        order_id = str(order.provider_order_id)
        payments = [payment for payment in self.payments.values() if payment["order_id"] == order_id]
        return payments[0] if payments else self.pay(order_id)

    def paid_events(self, order: PaymentOrder, change: Document) -> list[bytes]:
        captured = self.build_event("payment.captured", payment={**self.pay_order(order), **change})
        return [self.order_event(order, "paid", amount=order.amount, change=change), captured]

    def order_event(self, order: PaymentOrder, kind: str, *, amount: int, change: Document) -> bytes:
        order_id = str(order.provider_order_id)
        if kind in ("failed", "processing"):
            attempt = {"id": self.next_id("pay"), "order_id": order_id, "amount": order.amount, "currency": "INR"}
            type = {"processing": "authorized"}.get(kind, kind)
            return self.build_event(f"payment.{type}", payment={**attempt, **change})
        payment = self.pay_order(order)
        if kind == "paid":
            return self.build_event("order.paid", payment={**payment, **change}, order=self.orders[order_id])
        if kind == "refunded":
            refund = {**self.make_refund(payment["id"], amount), **change}
            return self.build_event("refund.created", refund=refund, payment=payment)
        dispute = {"id": f"disp_{order_id}", "payment_id": payment["id"], "amount": amount, "currency": "INR", **change}
        return self.build_event(
            f"payment.dispute.{'created' if kind == 'disputed' else kind}", payment=payment, dispute=dispute
        )

    def refund_event(self, order: PaymentOrder, kind: str, **change: Any) -> bytes:
        refund = {**next(iter(self.refunds.values())), **change}
        type = {"updated": "processed"}.get(kind, kind)
        return self.build_event(f"refund.{type}", refund=refund, payment=self.pay_order(order))

    def answer(self, method: str, path: str, values: Document, headers: dict[str, str]) -> Answer:
        if headers.get("Authorization") != _AUTHORISED:
            return 401, {"error": {"code": "BAD_REQUEST_ERROR", "description": "Authentication failed"}}
        parts = path.strip("/").split("/")[1:]
        match method, parts:
            case "GET", ["orders"]:
                return 200, _items([o for o in self.orders.values() if o["receipt"] == values.get("receipt")])
            case "POST", ["orders"]:
                return 200, self._order(values)
            case "GET", ["orders", order_id, "payments"]:
                return 200, _items([p for p in self.payments.values() if p["order_id"] == order_id])
            case "GET", ["payments", payment_id, "refunds"]:
                refunds = [r for r in self.refunds.values() if r["payment_id"] == payment_id]
                skip, count = int(values.get("skip", 0)), int(values.get("count", 10))
                return 200, _items(refunds[skip : skip + count])
            case "POST", ["payments", payment_id, "refund"]:
                return self._refund(payment_id, values)
        return 404, {"error": {"code": "BAD_REQUEST_ERROR", "description": "The requested URL was not found"}}

    def _order(self, values: Document) -> Document:
        pk = self.next_id("order")
        self.orders[pk] = {**values, "id": pk, "entity": "order", "status": "created"}
        return self.orders[pk]

    def _refund(self, payment_id: str, values: Document) -> Answer:
        payment = self.payments[payment_id]
        refunded = sum(r["amount"] for r in self.refunds.values() if r["payment_id"] == payment_id)
        if refunded + values["amount"] > payment["amount"]:
            return 400, {"error": {"code": "BAD_REQUEST_ERROR", "description": "fully refunded already"}}
        return 200, self.make_refund(payment_id, values["amount"], notes=values["notes"])

    # Actions of payers, and of the provider's dashboard

    def pay(self, order_id: str) -> Document:
        order = self.orders[order_id]
        order["status"] = "paid"
        payment = {
            "id": self.next_id("pay"),
            "entity": "payment",
            "order_id": order_id,
            "amount": order["amount"],
            "currency": order["currency"],
            "status": "captured",
            # Personal data of the payer, as in a real event. None of it may be stored.
            "email": "canary.payer@example.org",
            "contact": "+919876543210",
            "card": {"last4": "4242", "name": "Canary Payer"},
        }
        self.payments[payment["id"]] = payment
        return payment

    def make_refund(self, payment_id: str, amount: int, *, notes: Document | None = None, status: str = "") -> Document:
        refund = {
            "id": self.next_id("rfnd"),
            "entity": "refund",
            "amount": amount,
            "currency": self.payments[payment_id]["currency"],
            "payment_id": payment_id,
            "status": status or self.refund_status,
            "notes": notes or [],
        }
        self.refunds[refund["id"]] = refund
        return refund

    def build_event(self, type: str, **entities: Document) -> bytes:
        event: dict[str, Any] = {
            "entity": "event",
            "event": type,
            "contains": list(entities),
            "payload": {name: {"entity": entity} for name, entity in entities.items()},
            "created_at": int(time.time()),
        }
        return json.dumps(event).encode()


def _items(items: list[Document]) -> Document:
    return {"entity": "collection", "count": len(items), "items": items}


Fake = FakeRazorpay
