"""Which insight types fit a chat, and why the others do not. Asks the chat's counts only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chats.models import Chat
from insights.models import InsightType
from relivchats.errors import DomainError

#: A monologue has no relationship to tell of.
FEWEST_PEOPLE = 2


class DoesNotFit(DomainError):
    """The chat has too few messages, or too few or too many people, for what was asked. Nothing was held."""

    code, status, title = "ERR_1001", 422, "These insights do not fit this chat"


@dataclass(frozen=True)
class Fit:
    """Of the types asked about, those that do not fit the chat by reason, and those that do."""

    chat: Chat
    few_people: list[InsightType]
    many_people: list[InsightType]
    few_messages: list[InsightType]
    fitting: list[InsightType]

    def why_not(self, insight_type: InsightType) -> str:
        """In a sentence; empty when it fits."""
        reasons = []
        if insight_type in self.few_people:
            reasons.append("Only one person writes in this chat; insights are about people with each other.")
        if insight_type in self.many_people:
            reasons.append(f"It needs a chat of two; this one has {self.chat.participant_count} people.")
        if insight_type in self.few_messages:
            has = f"this chat has {self.chat.message_count}"
            reasons.append(f"It needs {insight_type.min_messages} messages; {has}.")
        return " ".join(reasons)

    def refuse_misfits(self) -> None:
        """Raises DoesNotFit when something does not fit."""
        if not (self.few_people or self.many_people or self.few_messages):
            return
        raise DoesNotFit(
            " ".join(self._in_words()),
            too_few_people=[t.id for t in self.few_people],
            too_few_messages=[t.id for t in self.few_messages],
            too_many_people=[t.id for t in self.many_people],
            possible=[t.id for t in self.fitting],
        )

    def _in_words(self) -> list[str]:
        chat, reasons = self.chat, []
        if self.few_people:
            reasons.append("Only one person writes in this chat; insights are about people with each other.")
        if self.many_people:
            titles = _titles(self.many_people)
            reasons.append(f"This chat has {chat.participant_count} people; {titles} need a chat of two.")
        if self.few_messages:
            needs = ", ".join(f"{t.title} needs {t.min_messages}" for t in self.few_messages)
            reasons.append(f"This chat has {chat.message_count} messages; {needs}.")
        return [*reasons, f"Ask for what fits: {_titles(self.fitting)}." if self.fitting else "No coins were held."]


def fit(chat: Chat, types: Sequence[InsightType]) -> Fit:
    few_people = [t for t in types if chat.participant_count < FEWEST_PEOPLE]
    many_people = [t for t in types if chat.is_group and not t.groups]
    few_messages = [t for t in types if chat.message_count < t.min_messages]
    unfit = {t.id for t in [*few_people, *many_people, *few_messages]}
    return Fit(chat, few_people, many_people, few_messages, [t for t in types if t.id not in unfit])


def _titles(types: Sequence[InsightType]) -> str:
    return ", ".join(t.title for t in types)
