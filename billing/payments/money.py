"""Money as people read it. Everywhere else it is whole minor units."""

from __future__ import annotations

_SIGNS = {"INR": "₹", "USD": "$"}


def shown(amount: int, currency: str) -> str:
    """`₹1,499`, `$4.99`: 149900 and 499 minor units. Both currencies have a hundred to the whole."""
    whole, part = divmod(abs(amount), 100)
    digits = f"{whole:,}.{part:02}" if part else f"{whole:,}"
    minus, sign = "−" if amount < 0 else "", _SIGNS.get(currency)
    return f"{minus}{sign}{digits}" if sign else f"{minus}{digits} {currency}"
