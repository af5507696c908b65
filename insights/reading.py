"""Delivered insights, unsealed for their owner."""

from __future__ import annotations

from typing import Any

import orjson

from insights.models import Insight


def document(insight: Insight) -> dict[str, Any] | None:
    """The insight's document (insights/document.py gives its shape), or None until it is completed."""
    if insight.sealed_document is None or insight.chat is None:
        return None
    chat = insight.chat
    opened: dict[str, Any] = orjson.loads(
        chat.key.open(insight.sealed_document, context=chat.context(f"insight:{insight.pk}"))
    )
    return opened
