"""Currencies, and amounts of money as text. Everywhere else an amount is an integer in minor units: paise, cents."""

from __future__ import annotations

#: Symbols of the currencies that packages can be priced in.
CURRENCIES = {"INR": "₹", "USD": "$"}
#: Of one unit of each of these currencies.
MINOR_UNITS = 100


def currency_choices() -> list[tuple[str, str]]:
    """Return the choices of a currency field. As a callable, it keeps new currencies out of the migrations."""
    return [(code, code) for code in CURRENCIES]


def format_amount(amount: int, currency: str, *, in_column: bool = False) -> str:
    """Return an amount in minor units as text: `₹1,499` for 149900 INR, `$4.99` for 499 USD.

    In a column, amounts are compared digit by digit, so each has its minor units: `₹1,499.00`.
    """
    whole, minor = divmod(abs(amount), MINOR_UNITS)
    digits = f"{whole:,}.{minor:02}" if minor or in_column else f"{whole:,}"
    minus, symbol = "−" if amount < 0 else "", CURRENCIES.get(currency)
    return f"{minus}{symbol}{digits}" if symbol else f"{minus}{digits} {currency}"
