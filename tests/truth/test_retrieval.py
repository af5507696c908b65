"""Search finds as much of what is planted in a small chat as when the figures were recorded."""

from __future__ import annotations

import pytest

from chats import gemini_embedding, search
from tests.truth import retrieval

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("engine", "language"), [("local", "english"), ("local", "hinglish"), ("gemini", "english")])
def test_recall_is_not_below_the_recorded_figures(engine: str, language: str) -> None:
    with retrieval.embedding_with(engine):
        searches = retrieval.measure(retrieval.generate_small(language))
    assert len(searches) >= 10
    for method, recorded in retrieval.load_recorded(engine)[language].items():
        # Half a percent: libraries round differently on other processors.
        assert retrieval.compute_recall(searches, method) >= recorded - 0.005, method


def test_a_ranking_that_is_worse_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last chunks instead of the first ones, of the same scores."""
    rank = search._rank
    monkeypatch.setattr(search, "_rank", lambda scores: rank(scores)[::-1])
    searches = retrieval.measure(retrieval.generate_small("english"))
    for method, recorded in retrieval.load_recorded()["english"].items():
        assert retrieval.compute_recall(searches, method) < recorded - 0.05, method


@pytest.mark.parametrize("name", ["DOCUMENT_PREFIX", "QUERY_PREFIX"])
def test_a_prefix_that_the_embedding_model_does_not_know_is_detected(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(gemini_embedding, name, "")
    with retrieval.embedding_with("gemini"):
        searches = retrieval.measure(retrieval.generate_small("english"))
    assert (
        retrieval.compute_recall(searches, "vectors") < retrieval.load_recorded("gemini")["english"]["vectors"] - 0.05
    )
