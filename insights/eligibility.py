"""Which insight types a chat is eligible for, and the reason for each that it is not.

It uses counts and, after a reading, what the people are to each other; no messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chats.models import Chat
from insights import engines, reading
from insights.models import InsightType
from relivchats.errors import DomainError

#: Every insight is about people with each other, so a chat in which one person writes is eligible for none.
MIN_PEOPLE = 2
#: An engine that knows only some languages must know those of this share of the texts whose language is recognised.
MIN_KNOWN_SHARE = 0.5
#: With fewer of these texts, the language of the chat is unknown.
MIN_RECOGNISED_TEXTS = 20
#: Keys of `language_mix` that do not say whether the engine knows the language.
_UNDECIDED = frozenset({"unknown", "mixed", "devanagari"})
#: Keys that name a script of several languages.
_SCRIPTS = {
    "arabic_script": "the Arabic script",
    "cyrillic": "Cyrillic letters",
    "han": "Chinese characters",
    "other_script": "another script",
}
ONLY_ONE_PERSON = "Only one person writes in this chat; insights are about people with each other."


class NotEligible(DomainError):
    """The chat has too few messages, too few or too many people, or a language that the engine does not know.

    No coins are reserved.
    """

    code, status, title = "ERR_1001", 422, "These insights do not fit this chat"
    # The API's name of the problem, from before the class was renamed.
    slug = "does-not-fit"


@dataclass(frozen=True)
class Eligibility:
    """The checked types: those the chat is eligible for, and the others by reason. A type can have several reasons.

    `unknown_language` is the chat's language if the engine cannot judge it, and `unfit_relationship` is what the people
    are to each other if the category is not for them; then the chat is eligible for no type.
    """

    chat: Chat
    too_few_people: list[InsightType]
    too_many_people: list[InsightType]
    too_few_messages: list[InsightType]
    eligible: list[InsightType]
    unknown_language: str = ""
    unfit_relationship: str = ""

    def reason_against(self, insight_type: InsightType) -> str:
        """Return why the chat is not eligible for the type, in sentences; empty if it is eligible."""
        reasons = self._explain_chat()
        if insight_type in self.too_few_people:
            reasons.append(ONLY_ONE_PERSON)
        if insight_type in self.too_many_people:
            reasons.append(f"It needs a chat of two; this one has {self.chat.participant_count} people.")
        if insight_type in self.too_few_messages:
            has = f"this chat has {self.chat.message_count}"
            reasons.append(f"It needs {insight_type.min_messages} messages; {has}.")
        return " ".join(reasons)

    def require_all(self) -> None:
        """Raise NotEligible if the chat is not eligible for one of the checked types."""
        reasons = self._explain_chat()
        if self.too_few_people:
            reasons.append(ONLY_ONE_PERSON)
        if self.too_many_people:
            titles = _join_titles(self.too_many_people)
            needs = "needs" if len(self.too_many_people) == 1 else "need"
            reasons.append(f"This chat has {self.chat.participant_count} people; {titles} {needs} a chat of two.")
        if self.too_few_messages:
            minimums = ", ".join(f"{t.title} needs {t.min_messages}" for t in self.too_few_messages)
            reasons.append(f"This chat has {self.chat.message_count} messages; {minimums}.")
        if not reasons:
            return
        if self.eligible:
            reasons.append(f"Ask for what fits: {_join_titles(self.eligible)}.")
        else:
            reasons.append("No coins were held.")
        raise NotEligible(
            " ".join(reasons),
            too_few_people=[t.id for t in self.too_few_people],
            too_few_messages=[t.id for t in self.too_few_messages],
            too_many_people=[t.id for t in self.too_many_people],
            possible=[t.id for t in self.eligible],
        )

    def _explain_chat(self) -> list[str]:
        """Return why the chat is eligible for none of the types."""
        if self.unfit_relationship:
            return [f"This chat reads like one of {self.unfit_relationship}; these insights are not made for that."]
        if not self.unknown_language:
            return []
        engine = engines.get_engine()
        known = ", ".join(map(_show, sorted(engine.chat_languages or ())))
        sentence = (
            f"This chat is mostly in {_show(self.unknown_language)}. The {engine.name} engine counts words and knows"
            f" only those of {known}, so it cannot judge this chat. An engine that reads chats can."
        )
        return [sentence]


def check_eligibility(chat: Chat, types: Sequence[InsightType]) -> Eligibility:
    """Return which of the types the chat is eligible for."""
    too_few_people = [t for t in types if chat.participant_count < MIN_PEOPLE]
    too_many_people = [t for t in types if chat.is_group and not t.groups]
    too_few_messages = [t for t in types if chat.message_count < t.min_messages]
    unknown_language = find_unknown_language(chat)
    unfit_relationship = find_unfit_relationship(chat, types)
    rejected = {t.id for t in [*too_few_people, *too_many_people, *too_few_messages]}
    eligible = [t for t in types if t.id not in rejected and not unknown_language and not unfit_relationship]
    return Eligibility(
        chat, too_few_people, too_many_people, too_few_messages, eligible, unknown_language, unfit_relationship
    )


def find_unfit_relationship(chat: Chat, types: Sequence[InsightType]) -> str:
    """Return what the chat's people are to each other if the types' category is not for them; otherwise "".

    It is known once an engine has read the chat.
    """
    not_for = {relationship for t in types for relationship in t.category.not_for}
    if not not_for or engines.get_engine().method != "read":
        return ""
    relationship = reading.load_relationship(chat)
    return str(relationship) if relationship in not_for else ""


def find_unknown_language(chat: Chat) -> str:
    """Return the chat's most frequent language if the engine cannot judge the chat; otherwise an empty string."""
    known = engines.get_engine().chat_languages
    if known is None:
        return ""
    mix: dict[str, int] = {
        name: share["count"] for name, share in chat.statistics["language_mix"].items() if name not in _UNDECIDED
    }
    total, understood = sum(mix.values()), sum(mix[name] for name in known & mix.keys())
    if total < MIN_RECOGNISED_TEXTS or understood >= total * MIN_KNOWN_SHARE:
        return ""
    return max(mix.keys() - known, key=lambda name: (mix[name], name))


def _show(language: str) -> str:
    return _SCRIPTS.get(language) or language.title()


def _join_titles(types: Sequence[InsightType]) -> str:
    return ", ".join(t.title for t in types)
