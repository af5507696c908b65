"""Examples of payments in the API's description."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample

PACKAGE = {
    "id": "popular",
    "title": "Popular",
    "coins": 850,
    "popular": True,
    "prices": [
        {"currency": "INR", "amount": 79900, "shown": "₹799", "providers": ["razorpay"]},
        {"currency": "USD", "amount": 999, "shown": "$9.99", "providers": ["stripe"]},
    ],
}
ORDER_REQUEST = OpenApiExample("Popular, by Stripe", {"package_id": "popular", "provider": "stripe"}, request_only=True)
ORDER = {
    "order_id": "7c3f2a90-4d27-4b8e-9e0b-51a6f0d6c1b2",
    "status": "completed",
    "package_id": "popular",
    "coins": 850,
    "amount": 999,
    "currency": "USD",
    "refunded_amount": 0,
    "provider": "stripe",
    "provider_order_id": "pi_3QxExample",
    "created_at": "2026-01-05T09:31:12Z",
    "completed_at": "2026-01-05T09:32:40Z",
}
_CLIENT_VALUE = "pi_3QxExample_secret_…"
CHECKOUT = {
    **ORDER,
    "status": "pending",
    "completed_at": None,
    "client_secret": _CLIENT_VALUE,
    "key_id": "pk_live_…",
    "checkout_url": None,
}
