"""Planted chats: the ground truth names the messages that the import numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from chats import transcript
from chats.importing import import_chat
from insights.episodes import Relationship
from relivchats.accounts.models import User
from tests.truth import generator, ground_truth
from tests.truth.material import LANGUAGES


@pytest.mark.django_db
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_numbers_of_the_ground_truth_are_those_of_the_import(language: str) -> None:
    planted_chat = generator.generate(3, language=language, messages=700, distractors=6)
    owner = User.objects.create_user("planted@example.org")
    chat = import_chat(owner=owner, upload=planted_chat.export.encode())
    assert chat.message_count == planted_chat.truth.messages == 700
    numbers = [number for planted in planted_chat.truth.planted for number in planted.lines]
    stored = transcript.TranscriptReader(chat).get(numbers)
    for planted in planted_chat.truth.planted:
        for number, (person, text) in planted.lines.items():
            assert (stored[number].sender, stored[number].text) == (planted_chat.truth.people[person], text)


def test_the_same_seed_gives_the_same_chat() -> None:
    assert generator.generate(7).export == generator.generate(7).export
    assert generator.generate(7).export != generator.generate(8).export


def test_the_levels_of_the_traits_set_the_number_of_planted_conversations() -> None:
    traits = {"conflict": 3, "affection": 0, "support": 2, "tease": 1}
    truth = generator.generate(1, traits=traits).truth
    counts = Counter(planted.kind for planted in truth.examples())
    assert counts["conflict"] >= 10
    assert (counts["affection"], counts["support"], counts["tease"]) == (0, 3, 1)


def test_a_planted_conversation_is_not_interrupted() -> None:
    for planted in generator.generate(2, distractors=16).truth.planted:
        assert sorted(planted.lines) == list(range(planted.first, planted.last + 1))


def test_one_person_can_lead_a_kind() -> None:
    truth = generator.generate(1, traits={"affection": 3}, led_by_first=["affection"]).truth
    assert all(0 in planted.roles for planted in truth.examples() if planted.kind == "affection")


@pytest.mark.parametrize("relationship", [Relationship.FRIENDS, Relationship.FAMILY, Relationship.COLLEAGUES])
def test_groups_of_three_are_generated(relationship: Relationship) -> None:
    truth = generator.generate(1, relationship=relationship, people=3).truth
    assert len(truth.people) == 3
    assert len({person for planted in truth.planted for person, _ in planted.lines.values()}) == 3


def test_planted_conversations_need_everyday_messages_around_them() -> None:
    with pytest.raises(ValueError, match="do not leave enough room"):
        generator.generate(1, messages=150)


def test_the_ground_truth_survives_its_json_file(tmp_path: Path) -> None:
    planted_chat = generator.generate(5, name="stormy")
    path = planted_chat.write(tmp_path)
    assert path.read_text(encoding="utf-8") == planted_chat.export
    assert ground_truth.read(tmp_path / "stormy.truth.json") == planted_chat.truth
