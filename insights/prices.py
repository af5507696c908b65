"""What an unlock costs, and each insight's part of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Priced(Protocol):
    price: int


def single_price(insight_type: Priced, failed: Priced | None) -> int:
    """One insight's price: the type's; of one that failed its own part then, if that is less."""
    return insight_type.price if failed is None else min(insight_type.price, failed.price)


def total_price(prices: Sequence[int], *, category_price: int) -> int:
    """The smaller of the types' sum and the category's price, in coins."""
    return min(sum(prices), category_price)


def split_coins(coins: int, *, weights: Sequence[int]) -> list[int]:
    """Whole parts of `coins` in proportion to the weights; the parts sum to the coins (largest remainder)."""
    whole = sum(weights)
    parts = [coins * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(coins * weights[i] % whole), i))
    for index in by_remainder[: coins - sum(parts)]:
        parts[index] += 1
    return parts
