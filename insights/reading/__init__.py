"""Reading a chat by a language model, once, before any insight is written: plan windows, read them, count episodes."""

from __future__ import annotations

from insights.episodes import MonthRead, Reading
from insights.reading.queue import request
from insights.reading.result import load, load_relationship

__all__ = ["MonthRead", "Reading", "load", "load_relationship", "request"]
