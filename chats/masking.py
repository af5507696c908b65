"""Masks the texts of a chat before an embedding engine sends them to a provider."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from django.conf import settings

from chats.embedding import EmbeddingEngine
from chats.models import Chat

if TYPE_CHECKING:
    from chats.pseudonyms import Pseudonyms


def mask_texts(engine: EmbeddingEngine, chat: Chat, texts: Sequence[str]) -> Sequence[str]:
    """Return texts of a chat, or queries about it, as the engine may receive them: masked if they leave the machine.

    The labels are numbered by the export's names, whose order never changes: what the owner renames or merges later
    leaves the vectors comparable.
    """
    if not engine.leaves_machine or not settings.PSEUDONYMS:
        return texts
    first_name_of_person: dict[int, int] = {}
    for sender, person in enumerate(chat.people.person_of_sender):
        first_name_of_person.setdefault(person, sender)
    shown = {name: first_name_of_person[person] for person, name in enumerate(chat.participants)}
    pseudonyms = _build_pseudonyms(tuple(chat.export_names), tuple(shown.items()))
    return [pseudonyms.mask(text) for text in texts]


# Building them takes longer than masking a message, and a chat is masked in many steps.
@lru_cache(maxsize=16)
def _build_pseudonyms(export_names: tuple[str, ...], shown: tuple[tuple[str, int], ...]) -> Pseudonyms:
    # Imported here: its lists of words take 0.1 s, and most processes mask nothing.
    from chats.pseudonyms import Pseudonyms

    return Pseudonyms(export_names, dict(shown))
