"""An export's messages to its statistics: one pass, no database, no clock."""

from chats.statistics.counting import Statistics

__all__ = ["Statistics"]
