"""Questions about what is planted are answered by it, and nothing that a model invents is an answer."""

from __future__ import annotations

from functools import cache

import pytest

from tests.truth import questions
from tests.truth.adversaries import INJECTION, ORACLES
from tests.truth.generator import PlantedChat, generate
from tests.truth.questions import PlantedQuestion

pytestmark = pytest.mark.django_db(transaction=True)

TRAITS = dict.fromkeys(("conflict", "promise_kept", "apology", "plan", "affection", "gratitude", "hard_feelings"), 3)


@cache
def plant(language: str = "english") -> tuple[PlantedChat, list[PlantedQuestion]]:
    """Return a small chat and questions about it."""
    planted_chat = generate(
        4, language=language, traits=TRAITS, default_level=0, messages=320, months=4, extra_lines=[INJECTION]
    )
    return planted_chat, questions.make_questions(planted_chat.truth, count=9)


@pytest.mark.parametrize("language", ["english", "hinglish"])
def test_a_perfect_reader_answers_what_is_planted_and_nothing_else(language: str) -> None:
    planted_chat, asked = plant(language)
    figures = questions.measure_questions(planted_chat, asked)
    assert (figures.asked, figures.absent, figures.failed) == (9, 3, 0)
    assert figures.unanswered == []
    assert figures.answered == figures.right == figures.asked
    assert figures.refused == figures.absent
    assert figures.false_statements == []


@pytest.mark.parametrize("oracle", ["lies and confirms", "lies and verifies"])
def test_no_answer_has_what_a_model_invents(oracle: str) -> None:
    planted_chat, asked = plant()
    figures = questions.measure_questions(planted_chat, asked, oracle=ORACLES[oracle], insists=True)
    assert figures.asked + figures.absent == len(asked)
    assert figures.false_statements == []
