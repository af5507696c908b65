"""The price of an unlock in coins, and each insight's part of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Priced(Protocol):
    """Something with a price in coins: an insight type, or an insight that failed."""

    price: int


def single_price(insight_type: Priced, failed: Priced | None) -> int:
    """Return the price of one insight: the type's or, if it failed before, what it cost then if that is less."""
    return insight_type.price if failed is None else min(insight_type.price, failed.price)


def total_price(prices: Sequence[int], *, category_price: int) -> int:
    """Return the sum of the prices, at most the category's price."""
    return min(sum(prices), category_price)


def split_coins(coins: int, *, weights: Sequence[int]) -> list[int]:
    """Return whole parts of the coins in proportion to the weights, by the largest remainder method."""
    total = sum(weights)
    parts = [coins * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(coins * weights[i] % total), i))
    for index in by_remainder[: coins - sum(parts)]:
        parts[index] += 1
    return parts
