"""The price of an unlock in coins, and each insight's part of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Priced(Protocol):
    """An insight that failed, with the coins that it cost."""

    price: int


def single_price(current_price: int, *, failed: Priced | None) -> int:
    """Return the price of one insight: its type's or, if it failed before, what it cost then if that is less."""
    return current_price if failed is None else min(current_price, failed.price)


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
