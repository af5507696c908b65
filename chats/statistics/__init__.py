"""An export's messages to its statistics: one pass, no database, no clock."""

from chats.statistics.counter import StatisticsCounter

__all__ = ["StatisticsCounter"]
