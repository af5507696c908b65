"""The engine `openai` divides its work into parts that fit into the context of the model."""

from __future__ import annotations

from typing import Any

import pytest

from insights.engines.openai import FIXED_TOKENS, OpenAIEngine
from insights.prompt_files import load


@pytest.mark.parametrize("context", [4_096, 8_192, 16_384, 32_768, 131_072])
def test_a_window_and_a_prompt_leave_room_for_the_instructions_and_the_answer(settings: Any, context: int) -> None:
    settings.OPENAI_CONTEXT_TOKENS = context
    engine = OpenAIEngine()
    answer = context // 4
    assert 0 < engine.window_tokens <= context - answer - FIXED_TOKENS
    # The list of episodes takes half of what the conversations take.
    assert 0 < engine.write_tokens * 1.5 <= context - answer - FIXED_TOKENS


def test_the_settings_name_the_models_and_the_parallel_calls(settings: Any) -> None:
    settings.OPENAI_MODEL, settings.OPENAI_READING_MODEL, settings.OPENAI_PARALLEL_CALLS = "writer", "reader", 2
    engine = OpenAIEngine()
    assert engine._slots._free == 2
    assert (engine.name, engine.model, engine.reading_model, engine.parallel_windows) == (
        "openai",
        "writer",
        "reader",
        2,
    )


def test_the_instructions_for_reading_fit_into_the_fixed_tokens() -> None:
    # Models need about a token for four characters of English. The rest is for the people and what is asked of them.
    assert len(load("read")) / 4 <= FIXED_TOKENS * 0.95
