"""The engines that can write insights. The setting INSIGHT_ENGINE selects one; docs/insights.md says how to add one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from insights.engines.base import Engine

#: The class of each engine by the value of INSIGHT_ENGINE. Paths, because the settings import this module.
ENGINES: Mapping[str, str] = {
    "local": "insights.engines.local.engine.LocalInsightEngine",
    "gemini": "insights.engines.gemini.GeminiEngine",
    "openai": "insights.engines.openai.OpenAIEngine",
}


@cache
def get_engine() -> Engine:
    """Return this process's engine."""
    module, _, name = ENGINES[settings.INSIGHT_ENGINE].rpartition(".")
    engine: Engine = getattr(import_module(module), name)()
    return engine
