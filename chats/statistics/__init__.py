"""Statistics of an export, counted in one pass over its messages. Pure: no Django, no database, no clock."""

from chats.statistics.counter import StatisticsCounter

__all__ = ["StatisticsCounter"]
