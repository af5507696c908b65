"""A stand-in for Razorpay that the real SDK speaks to: orders, payments, refunds, and the events it would send."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from tests.fakes.provider import Answer, Document, FakeProvider

SECRET = "the-first-razorpay-secret"
KEY_ID, KEY_SECRET = "rzp_test_thetests", "canarysecretofthetests"
_AUTHORISED = "Basic " + base64.b64encode(f"{KEY_ID}:{KEY_SECRET}".encode()).decode()


def signature(body: bytes, *, secret: str = SECRET, event_id: str = "") -> dict[str, str]:
    headers = {"X-Razorpay-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}
    return {**headers, "X-Razorpay-Event-Id": event_id} if event_id else headers


class FakeRazorpay(FakeProvider):
    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[str, Document] = {}
        self.payments: dict[str, Document] = {}
        self.refunds: dict[str, Document] = {}
        self.refund_status = "processed"

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
                found = [r for r in self.refunds.values() if r["payment_id"] == payment_id]
                skip, count = int(values.get("skip", 0)), int(values.get("count", 10))
                return 200, _items(found[skip : skip + count])
            case "POST", ["payments", payment_id, "refund"]:
                return self._refund(payment_id, values)
        return 404, {"error": {"code": "BAD_REQUEST_ERROR", "description": "The requested URL was not found"}}

    def _order(self, values: Document) -> Document:
        pk = self.next_id("order")
        self.orders[pk] = {**values, "id": pk, "entity": "order", "status": "created"}
        return self.orders[pk]

    def _refund(self, payment_id: str, values: Document) -> Answer:
        payment = self.payments[payment_id]
        back = sum(r["amount"] for r in self.refunds.values() if r["payment_id"] == payment_id)
        if back + values["amount"] > payment["amount"]:
            return 400, {"error": {"code": "BAD_REQUEST_ERROR", "description": "fully refunded already"}}
        return 200, self.refunded(payment_id, values["amount"], notes=values["notes"])

    # What people and the provider do

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
            # What a real one carries of the payer: none of it may stay here.
            "email": "canary.payer@example.org",
            "contact": "+919876543210",
            "card": {"last4": "4242", "name": "Canary Payer"},
        }
        self.payments[payment["id"]] = payment
        return payment

    def refunded(self, payment_id: str, amount: int, *, notes: Document | None = None, status: str = "") -> Document:
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

    def event(self, type: str, **entities: Document) -> bytes:
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
