"""Measure the duration of a webhook: `python -m tests.benchmarks.webhooks`.

Signed events of Stripe are sent over HTTP to a web process like that of `./dev up`. Each reports the payment of one
order, and the response comes after its coins are granted. Then each event is sent a second time, as Stripe does when a
response was lost.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

from tests.benchmarks import stage
from tests.fakes import stripe
from tests.fakes.provider import serving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    chosen = parser.parse_args()
    print(stage.machine())
    with serving(stripe.FakeStripe()) as fake:
        os.environ.update(
            STRIPE_SECRET_KEY=stripe.KEY,
            STRIPE_PUBLISHABLE_KEY="pk_test_benchmark",
            STRIPE_WEBHOOK_SECRETS=stripe.SECRET,
            STRIPE_API_BASE=fake.base_url,
        )
        with stage.installation(), stage.web() as web:
            events = _create_events(fake, count=chosen.requests)
            _print("the first event of an order, until its coins are granted", _send(web.port, events, replay=False))
            _check_coins(chosen.requests)
            _print("the same event again", _send(web.port, events, replay=True))
            _check_coins(chosen.requests)


def _create_events(fake: stripe.FakeStripe, *, count: int) -> list[bytes]:
    """Return the events of paid orders, each of a different person."""
    from billing.payments import orders
    from relivchats.accounts.models import User

    def create_paid_event(number: int) -> bytes:
        _, placed = orders.create(
            user=User.objects.create_user(f"benchmark-{number}@example.org"),
            package_id="starter",
            provider="stripe",
            idempotency_key="once",
        )
        return fake.build_event("payment_intent.succeeded", fake.pay(placed.provider_order_id))

    return [create_paid_event(number) for number in range(count)]


def _send(port: int, events: Sequence[bytes], *, replay: bool) -> list[float]:
    """Send the events one after the other. Return the seconds until each response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    seconds = []
    for body in events:
        headers = {"Content-Type": "application/json", **stripe.signature(body)}
        started = time.perf_counter()
        connection.request("POST", "/api/payments/webhooks/stripe", body, headers)
        answer = connection.getresponse()
        content: Any = json.loads(answer.read())
        seconds.append(time.perf_counter() - started)
        assert (answer.status, content) == (200, {"received": True, "replay": replay}), content
    return seconds


def _check_coins(orders: int) -> None:
    from billing.models import CreditTransaction, PaymentOrder

    assert PaymentOrder.objects.filter(status=PaymentOrder.Status.COMPLETED).count() == orders
    assert CreditTransaction.objects.filter(type=CreditTransaction.Type.PURCHASE).count() == orders


def _print(name: str, seconds: Sequence[float]) -> None:
    milliseconds = [1000 * each for each in seconds]
    p95 = statistics.quantiles(milliseconds, n=20)[-1]
    print(f"{name}: median {statistics.median(milliseconds):.1f} ms, p95 {p95:.1f} ms over {len(seconds)}", flush=True)


if __name__ == "__main__":
    main()
