"""The price of an unlock and its parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from insights import prices


def test_an_unlock_costs_the_sum_of_its_types_or_the_category_whichever_is_less() -> None:
    assert prices.total_price([50, 100], category_price=400) == 150
    assert prices.total_price([50, 100, 100, 100, 100, 50], category_price=400) == 400


@given(st.integers(1, 10_000), st.lists(st.integers(1, 1_000), min_size=1, max_size=20))
def test_the_parts_are_whole_coins_in_proportion_and_sum_to_the_coins(coins: int, weights: list[int]) -> None:
    parts = prices.split_coins(coins, weights=weights)
    assert sum(parts) == coins
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - coins * weight / sum(weights)) < 1
