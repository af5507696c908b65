"""What Messenger and Instagram share: sentences that Meta writes, messages that were edited, and details."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from chats import exports
from chats.exports import meta, meta_sentences
from chats.exports.batching import Row
from chats.exports.meta_sentences import HEAD_CHARS, Owner, heads_of, regex_of
from chats.exports.parsed import Detail, MediaKind, Message, MessageKind, Reaction
from tests.platforms import mojibake

AT_MS = 1_710_400_000_000
LANGUAGES: dict[str, dict[str, list[str]]] = tomllib.loads(
    Path(meta_sentences.__file__).with_suffix(".toml").read_text(encoding="utf-8")
)
SENTENCES = [
    (language, field, template)
    for language, phrases in LANGUAGES.items()
    for field, templates in phrases.items()
    if field not in ("you", "edited")
    for template in templates
]


def page(*messages: dict[str, Any], people: int = 2) -> bytes:
    """Return a page whose messages follow each other by a minute, newest first as Meta writes them."""
    rows = [
        {"sender_name": "Asha Rao", "timestamp_ms": AT_MS + 60_000 * number} | message
        for number, message in enumerate(messages)
    ]
    names = ["Asha Rao", "Ben", "Cy"][:people]
    header = {"participants": [{"name": name} for name in names], "title": "Goa"}
    return json.dumps(header | {"messages": rows[::-1]}).encode()


def read(*messages: dict[str, Any]) -> list[Message]:
    export = exports.read(page(*messages))
    return [message for batch in export.batches for message in batch.messages(export.participants)]


def kind_of(said: str, **members: Any) -> MessageKind:
    """Return the kind of one text of Asha Rao. Another message makes the chat readable."""
    return read({"content": mojibake(said)} | members, {"content": "hello"})[0].kind


def texts(*messages: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(message.text, message.edited) for message in read(*messages)]


# Sentences


@pytest.mark.parametrize(
    "said",
    [
        "Asha Rao created a poll: Tea or coffee?",
        "You created a poll: Tea.",
        "Asha Rao voted for Tea in the poll.",
        'Asha voted for "Tea" and 2 other options in the poll.',
        'Asha Rao voted for "Sea" in the poll: Where to?',
        'Asha Rao removed vote for "Sea" in the poll: Where to?',
        'Asha Rao changed their vote to "Hill" in the poll: Where to?',
        "Asha wasn't notified about this message because they're in quiet mode.",
        "Asha left the video chat.",
        "Asha Rao changed their vote to Coffee in the poll.",
        "You removed your vote for Tea in the poll.",
        'Asha Rao added "Water" to the poll.',
        "Asha Rao's poll has multiple updates.",
        "This poll is no longer available.",
        "Asha Rao hat eine Umfrage erstellt: Tee oder Kaffee?",
        "Asha Rao a voté pour Thé dans le sondage.",
        "Votaste por Té en la encuesta.",
        "Esta enquete não está mais disponível.",
        "Questo sondaggio non è più disponibile.",
        "Asha Rao heeft een peiling gemaakt: Thee?",
        "Bu anket artık kullanılamıyor.",
    ],
)
def test_polls_and_votes_are_system_lines(said: str) -> None:
    assert kind_of(said) is MessageKind.SYSTEM


@pytest.mark.parametrize(
    "said",
    [
        "Liked a message",
        "Reacted 😮 to your message ",
        "Reagiu 😂 à sua mensagem ",
        "A réagi ❤️ à votre message",
        "Hat mit 👍 auf deine Nachricht reagiert ",
        "Reaccionó con 🔥 a tu mensaje ",
        "Ha aggiunto la reazione 😂 al tuo messaggio ",
        "Asha Rao vindt een bericht leuk",
        "Polubił(a) wiadomość",
        "Gillade ett meddelande",
        "Đã bày tỏ cảm xúc ❤ về tin nhắn của bạn",
        "メッセージに「いいね！」しました",
    ],
)
def test_taps_and_reactions_are_system_lines_in_many_languages(said: str) -> None:
    assert kind_of(said) is MessageKind.SYSTEM


@pytest.mark.parametrize(
    ("said", "text", "media"),
    [
        ("Asha Rao sent a photo.", "<Photo>", MediaKind.PHOTO),
        ("You sent a video.", "<Video>", MediaKind.VIDEO),
        ("Asha sent a voice message.", "<Voice message>", MediaKind.VOICE),
        ("Asha Rao sent a GIF.", "<GIF>", MediaKind.GIF),
        ("Asha Rao sent a sticker.", "<Sticker>", MediaKind.STICKER),
        ("Asha Rao sent an attachment.", "<Attachment>", None),
        ("Asha Rao hat ein Foto gesendet.", "<Photo>", MediaKind.PHOTO),
        ("Vous avez envoyé une vidéo.", "<Video>", MediaKind.VIDEO),
        ("Você enviou uma mensagem de voz.", "<Voice message>", MediaKind.VOICE),
        ("Asha Rao wysłał(a) zdjęcie.", "<Photo>", MediaKind.PHOTO),
        ("أرسلت Asha صورة", "<Photo>", MediaKind.PHOTO),
        ("Asha Raoさんが写真を送信しました。", "<Photo>", MediaKind.PHOTO),
        ("Asha Rao傳送了一張相片。", "<Photo>", MediaKind.PHOTO),
    ],
)
def test_a_sentence_about_what_was_sent_is_media_of_its_kind(said: str, text: str, media: MediaKind | None) -> None:
    message = read({"content": mojibake(said)})[0]
    assert (message.kind, message.text, message.details.media) == (MessageKind.MEDIA, text, media)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Asha Rao unsent a message", MessageKind.DELETED),
        ("You unsent a message", MessageKind.DELETED),
        ("This message is no longer available.", MessageKind.DELETED),
        ("Este mensaje ya no está disponible.", MessageKind.DELETED),
        ("The video call ended.", MessageKind.CALL),
        ("Asha Rao missed your call.", MessageKind.CALL),
        ("You missed an audio call from Asha Rao.", MessageKind.CALL),
        ("L’appel vidéo est terminé.", MessageKind.CALL),
        ("Asha Rao called you.", MessageKind.CALL),
        ("Asha Rao started a video chat.", MessageKind.SYSTEM),
        ("Asha set the nickname for Ben to Benny.", MessageKind.SYSTEM),
        ("You set the quick reaction to 🔥.", MessageKind.SYSTEM),
        ("Asha Rao created a plan: Dinner.", MessageKind.SYSTEM),
        ("You can now message and call each other and see info like Active Status.", MessageKind.SYSTEM),
        ("Asha Rao sent a location.", MessageKind.LOCATION),
        ("Asha Rao sent a contact card.", MessageKind.CONTACT),
    ],
)
def test_each_sentence_has_its_kind(said: str, kind: MessageKind) -> None:
    assert kind_of(said) is kind


@pytest.mark.parametrize(
    "said",
    [
        "Ben voted for Tea in the poll.",
        "I created a poll: Tea?",
        "You voted for that clown",
        "You called me three times yesterday",
        "You sent a link to the wrong group",
        "Du hast für ihn gestimmt",
        "Hai chiamato Marco?",
        "Agora vocês podem entrar",
        "أرسلت لك صورة",
        "写真を送信しました",
        "You are going to love it",
        "Mensaje recibido",
        "You set the emoji to what?",
        "You changed the theme to dark?",
        "You changed the theme to dark",
        "You made Ben an admin",
        "You left the group",
        "You sent a photo",
        "You missed a call",
        "You missed a call?",
        "You unsent a message?",
        "Você mudou o tema para azul?",
        "Você mudou o tema para azul",
        "Saliste del grupo",
        "Hai perso una chiamata",
        "Du hast die Gruppe verlassen",
        "Vous avez quitté le groupe ?",
        "Wysłałeś zdjęcie",
        "你撤回了一条消息吗？",
        "Video not available",
        "Photo unavailable",
        "This message is no longer available?",
        "The call ended?",
        "Asha ha impostato la sveglia",
        "Asha definiu a data",
        "Asha a défini les règles",
    ],
)
def test_what_people_type_about_polls_photos_and_calls_stays_text(said: str) -> None:
    assert kind_of(said) is MessageKind.TEXT


def test_words_of_the_owner_of_the_account_count_for_the_sender_to_whom_meta_speaks() -> None:
    said = {"content": "You made Cy an admin"}
    other = said | {"sender_name": "Ben"}
    system, text = MessageKind.SYSTEM, MessageKind.TEXT
    for certain in ({"content": "You sent an attachment."}, {"content": "You sent a photo", "photos": [{"uri": "1"}]}):
        messages = read(said, other, certain, said, other, {"content": "You changed the theme to dark?"})
        assert [m.kind for m in messages] == [text, text, MessageKind.MEDIA, system, text, text]
    # The owner is whom Meta addresses most often.
    often = [{"content": "You sent an attachment."}] * 2
    kinds = [m.kind for m in read(*often, {"content": "You left the group.", "sender_name": "Ben"}, said)]
    assert kinds[2:] == [text, system]


@pytest.mark.parametrize(
    "said",
    [
        "You named the group Goa.",
        "You set the nickname for Ben to Benny.",
        "Saliste del grupo.",
        "Você mudou o tema para azul.",
        "You created a poll: Tea or coffee?",
        "Asha ha impostato il soprannome di Ben su Benny.",
        "Asha definiu o apelido de Ben como Benny.",
        "Asha a défini le pseudo de Ben sur Benny.",
    ],
)
def test_a_sentence_as_meta_writes_it_is_a_system_line(said: str) -> None:
    assert kind_of(said) is MessageKind.SYSTEM


def test_a_missed_call_of_the_sender_is_a_call_without_a_full_stop() -> None:
    assert kind_of("You missed an audio call from Asha Rao") is MessageKind.CALL
    assert kind_of("You missed a call", call_duration=0) is MessageKind.CALL
    assert kind_of("You missed a call from Ben") is MessageKind.TEXT


def test_no_sentence_has_two_variable_parts_or_begins_with_one() -> None:
    """Two variable parts take quadratic time, and a sentence without a beginning is never found."""
    for _, _, template in SENTENCES:
        rest = template.removeprefix("{name}").removeprefix("{sender}").removeprefix("{you}")
        assert len(heads_of(rest)) < 500, template
        assert rest != template or all(len(head) == HEAD_CHARS for head in heads_of(rest)), template
        for branch in _branches(rest):
            assert branch.count("{}") + branch.count("{emoji}") + branch.count("{name}") <= 1, template


def _branches(template: str) -> list[str]:
    """Return the sentence once for each branch of its first choice with a variable part."""
    start = template.find("(")
    while start >= 0:
        if template[start - 1 : start] != "\\":
            branches, end = meta_sentences.branches_of(template, start)
            if any("{" in branch for branch in branches):
                return [each for branch in branches for each in _branches(template[:start] + branch + template[end:])]
        start = template.find("(", start + 1)
    return [template]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_of_a_language_is_recognised(language: str) -> None:
    sentences = meta_sentences.meta_sentences()
    sender = sentences.sender("Asha Rao", Owner())
    filled = {"{name}": "Asha Rao", "{sender}": "Asha Rao", "{n}": "3", "{emoji}": "❤️", "{}": "Tea, 2", "{you}": ""}
    for field, templates in LANGUAGES[language].items():
        for template in templates if field not in ("you", "edited") else ():
            said = template
            while "(" in said.replace("\\(", ""):
                # The innermost choice; `\(` is a bracket of the sentence.
                start = max(at for at in range(len(said)) if said[at] == "(" and said[at - 1 : at] != "\\")
                branches, end = meta_sentences.branches_of(said, start)
                said = said[:start] + branches[0] + said[end + (said[end : end + 1] == "?") :]
            said = said.replace("\\", "")
            for placeholder, text in filled.items():
                said = said.replace(placeholder, text)
            said = said.replace("?", "") if "??" not in said else said
            found = sentences.field_of(f"{said}.", sender, has_other_members=True)
            assert found is not None, (template, said)


def test_a_sentence_matches_the_whole_text_only() -> None:
    assert regex_of("(a|b).{}") == r"(?:a|b)\..+"
    assert kind_of("This poll is no longer available. Sad!") is MessageKind.TEXT
    assert kind_of("Asha Rao sent a photo. Look!") is MessageKind.TEXT


# Edited messages


def test_an_edited_message_counts_once_at_the_place_of_its_last_version() -> None:
    said = [{"content": "Dinner at 8"}, {"sender_name": "Ben", "content": "ok"}, {"content": "Dinner at 9 (edited)"}]
    assert texts(*said) == [("ok", False), ("Dinner at 9", True)]


def test_several_edits_of_a_message_count_once() -> None:
    said = ["Dinner", "Dinner at 8 (edited)", "Dinner at 8 or 9 (edited)"]
    assert texts(*({"content": each} for each in said)) == [("Dinner at 8 or 9", True)]


def test_an_edit_that_restores_the_first_text_replaces_the_edit_before_it() -> None:
    said = ["see you at 6", "see you at 7 (edited)", "see you at 6 (edited)"]
    assert texts(*({"content": each} for each in said)) == [("see you at 6", True)]


@pytest.mark.parametrize("note", ["edited", "editado", "modifié", "bearbeitet", "modificato", "düzenlendi", "編集済み"])
def test_the_note_is_recognised_in_many_languages_and_repaired(note: str) -> None:
    said = [{"content": mojibake("été ❤")}, {"content": mojibake(f"été 🔥 ({note})")}]
    assert texts(*said) == [("été 🔥", True)]


def test_a_note_of_an_unknown_language_counts_if_only_its_message_lacks_the_mark() -> None:
    mark = {"is_unsent_image_by_messenger_kid_parent": False}
    original, edited = {"content": "see you at five"}, {"content": "see you at six (muudetud)"}
    assert texts({"content": "a"} | mark, original | mark, edited) == [("a", False), ("see you at six", True)]
    kept = [("a", False), ("see you at five", False), ("see you at six (muudetud)", False)]
    assert texts({"content": "a"} | mark, original | mark, edited | mark) == kept
    assert texts({"content": "a"}, original, edited) == kept
    assert texts({"content": "a"} | mark, edited) == [("a", False), ("see you at six (muudetud)", False)]


def test_an_edited_message_without_its_original_stays() -> None:
    assert texts({"content": "hello"}, {"content": "where are you now? (edited)"}) == [
        ("hello", False),
        ("where are you now?", True),
    ]


def test_an_edit_replaces_only_a_text_of_its_sender_within_the_time_to_edit() -> None:
    minutes = meta.EDITABLE_SECONDS // 60 + 1
    late = {"content": "Dinner at 9 (edited)", "timestamp_ms": AT_MS + 60_000 * minutes}
    assert texts({"content": "Dinner at 8"}, late) == [("Dinner at 8", False), ("Dinner at 9", True)]
    other = {"content": "Dinner at 9 (edited)", "sender_name": "Ben"}
    assert texts({"content": "Dinner at 8"}, other) == [("Dinner at 8", False), ("Dinner at 9", True)]


def test_the_most_similar_of_several_texts_is_the_original() -> None:
    said = ["Dinner at 8 at the harbour", "Dinner at home?", "Dinner at 9 at the harbour (edited)"]
    assert texts(*({"content": each} for each in said)) == [
        ("Dinner at home?", False),
        ("Dinner at 9 at the harbour", True),
    ]


def test_reactions_to_the_original_belong_to_the_edited_message() -> None:
    original = {"content": "Dinner at 8", "reactions": [{"reaction": mojibake("❤"), "actor": "Ben"}]}
    [message] = read(original, {"content": "Dinner at 9 (edited)"})
    assert message.details.reactions == (Reaction("❤", 1, ("Ben",)),)


@pytest.mark.parametrize(
    ("original", "edited"),
    [
        ("Lats sumer", "Last summer"),
        ("wrok", "work"),
        ("see you at 6", "see you at 7"),
        ("pizza or soup", "pizza or pasta?"),
        ("no", "no, I cannot come"),
        ("what are you doing tonight?", "what r u doing tonight"),
        ("été ❤", "été 🔥"),
    ],
)
def test_a_corrected_text_is_recognised_as_the_original(original: str, edited: str) -> None:
    said = [{"content": mojibake(original)}, {"content": mojibake(f"{edited} (edited)")}]
    assert texts(*said) == [(edited, True)]


@pytest.mark.parametrize(
    ("earlier", "edited"),
    [
        ("good morning", "good night"),
        ("the first plan is fine", "the second plan is bad"),
        ("I", "I will be late"),
        ("can you call me?", "can you pick me up?"),
        (
            "My brother said yesterday that they might come over for dinner on Sunday if the weather is fine",
            "the train was late again this morning so I missed the meeting and now they want a report",
        ),
    ],
)
def test_an_edited_text_does_not_replace_another_one(earlier: str, edited: str) -> None:
    assert texts({"content": earlier}, {"content": f"{edited} (edited)"}) == [(earlier, False), (edited, True)]


def test_a_chat_of_edits_takes_time_in_proportion_to_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    likeness = meta._Trigrams.likeness

    def counted(*texts: Any) -> float:
        nonlocal compared
        compared += 1
        return likeness(*texts)

    monkeypatch.setattr(meta._Trigrams, "likeness", counted)
    rows = [{"content": f"{chr(97 + number % 26) * 9} (edited)", "timestamp_ms": AT_MS} for number in range(3_000)]
    read(*rows)
    assert 0 < compared <= meta.COMPARED_TEXTS * len(rows)


def test_the_texts_of_many_people_are_not_searched_for_an_original() -> None:
    class CountedRow(Row):
        looked_at = 0

        def __getattribute__(self, name: str) -> Any:
            if name in ("sender", "kind", "text"):
                CountedRow.looked_at += 1
            return super().__getattribute__(name)

    n_rows = 2 * meta.WAITING_ROWS
    rows = (CountedRow(AT_MS // 1000, sender, int(MessageKind.TEXT), "a", True) for sender in range(n_rows))
    assert sum(1 for _ in meta.without_originals((row, False) for row in rows)) == n_rows
    assert CountedRow.looked_at <= 10 * n_rows


def test_an_edit_is_compared_with_the_last_texts_of_its_sender_among_those_of_others() -> None:
    others: list[dict[str, Any]] = [
        {"sender_name": f"Guest {number}", "content": "Dinner at 8", "timestamp_ms": AT_MS} for number in range(99)
    ]
    first = {"content": "Dinner at 8", "timestamp_ms": AT_MS}
    own: list[dict[str, Any]] = [first, *({"content": each} for each in ("yes", "2", "?", "ok"))]
    found = texts(*own, *others, {"content": "Dinner at 9 (edited)", "timestamp_ms": AT_MS + 1_000})
    assert found[:4] == [("yes", False), ("2", False), ("?", False), ("ok", False)]
    assert found[4:] == [("Dinner at 8", False)] * 99 + [("Dinner at 9", True)]


# Details


def test_media_kinds_durations_and_reactions_are_kept() -> None:
    file = [{"uri": "1"}]
    reactions = [{"reaction": mojibake("❤"), "actor": mojibake("Zoë")}, {"reaction": mojibake("❤"), "actor": "Ben"}]
    messages = read(
        {"photos": file * 3},
        {"videos": file},
        {"audio_files": file},
        {"gifs": file},
        {"sticker": {"uri": "1"}},
        {"files": file},
        {"content": "Video chat ended", "call_duration": 61},
        {"content": "Ben missed your call", "call_duration": 0},
        {"content": "hi", "reactions": [*reactions, {"reaction": mojibake("😂"), "actor": "Asha Rao"}]},
        {"content": "plain", "reactions": []},
    )
    assert [message.details.media for message in messages[:6]] == [
        MediaKind.PHOTO,
        MediaKind.VIDEO,
        MediaKind.VOICE,
        MediaKind.GIF,
        MediaKind.STICKER,
        MediaKind.DOCUMENT,
    ]
    assert [message.details.duration_seconds for message in messages[6:8]] == [61, None]
    assert messages[8].details.reactions == (Reaction("❤", 2, ("Zoë", "Ben")), Reaction("😂", 1, ("Asha Rao",)))
    assert not messages[9].details.reactions
    recorded = {Detail.MEDIA_KINDS, Detail.CALL_DURATIONS, Detail.REACTIONS}
    assert exports.read(page({"content": "a"})).records == recorded


@pytest.mark.parametrize("seconds", [10**19, 2**31, -5, 0, True, 61.5, "61", None, []])
def test_a_call_has_a_duration_only_if_it_is_a_possible_number_of_seconds(seconds: Any) -> None:
    [message] = read({"content": "The video call ended.", "call_duration": seconds})
    assert (message.kind, message.text) == (MessageKind.CALL, "The video call ended")
    assert message.details.duration_seconds is None


@pytest.mark.parametrize(
    "reactions", [7, {}, [7, None, {}, {"reaction": 7}, {"reaction": "x" * 1_000, "actor": "Ben"}], ["❤"]]
)
def test_reactions_of_wrong_types_are_ignored(reactions: Any) -> None:
    [message] = read({"content": "hi", "reactions": reactions})
    assert message.details.reactions == ()
