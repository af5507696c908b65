"""Who writes insights: INSIGHT_ENGINE chooses."""

from __future__ import annotations

from functools import cache

from django.conf import settings

from insights.engines.base import Engine
from insights.engines.local.engine import LocalInsightEngine


@cache
def get_engine() -> Engine:
    """The engine of this process."""
    return {"local": LocalInsightEngine}[settings.INSIGHT_ENGINE]()
