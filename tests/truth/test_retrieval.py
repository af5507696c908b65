"""Search finds as much of what is planted in a small chat as when the figures were recorded."""

from __future__ import annotations

import pytest

from chats import search
from tests.truth import retrieval

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("language", ["english", "hinglish"])
def test_recall_is_not_below_the_recorded_figures(language: str) -> None:
    searches = retrieval.measure(retrieval.generate_small(language))
    assert len(searches) >= 10
    for method, recorded in retrieval.load_recorded()[language].items():
        # Half a percent: libraries round differently on other processors.
        assert retrieval.compute_recall(searches, method) >= recorded - 0.005, method


def test_a_ranking_that_is_worse_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last chunks instead of the first ones, of the same scores."""
    rank = search._rank
    monkeypatch.setattr(search, "_rank", lambda scores: rank(scores)[::-1])
    searches = retrieval.measure(retrieval.generate_small("english"))
    for method, recorded in retrieval.load_recorded()["english"].items():
        assert retrieval.compute_recall(searches, method) < recorded - 0.05, method
