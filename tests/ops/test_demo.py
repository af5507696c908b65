"""The demo runs the whole flow over HTTP, and explains every refusal in one sentence."""

from __future__ import annotations

import json
import re
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from billing.audit import audit
from chats import exports as chat_exports
from chats.exports.parsed import MessageKind
from chats.models import Chat
from insights.models import Insight
from ops.demo import accounts
from ops.management.commands.demo import SAMPLES
from relivchats.accounts.models import User
from relivchats.accounts.tokens import digest
from tests import exports, platforms
from tests.conftest import StartCelery

INSIGHTS = {
    "romantic": {
        "communication_basics",
        "emotional_intimacy",
        "love_language",
        "conflict_resolution",
        "future_planning",
        "playfulness_romance",
    },
    "friendship": {"friendship_trust_loyalty", "friendship_support_dynamics", "friendship_vitality"},
    "family": {"family_dynamics", "family_emotional_climate", "family_conflict_patterns"},
    "workplace": {"workplace_communication", "workplace_collaboration", "workplace_relationship_health"},
}


class Sample(NamedTuple):
    people: list[str]
    dialect: str
    days: range


EXPECTED = {
    "romantic": Sample(["Rohan", "Asha"], "android-12h", range(110, 131)),
    "friendship": Sample(["Nikhil", "Farhan"], "android-24h", range(60, 125)),
    "family": Sample(["Ritika", "Aman", "Mummy", "Neha Bua", "Papa"], "ios-12h", range(60, 125)),
    "workplace": Sample(["Leena", "Marcus", "Joy", "Tom"], "android-12h", range(60, 125)),
}


SHORT = "".join(f"02/06/2025, 09:{minute:02} - {'Asha' if minute % 3 else 'Rohan'}: hello\n" for minute in range(12))


class Output(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def embedded_stack(settings: Settings) -> None:
    settings.EMBEDDED = True


def demo(*arguments: object, base_url: str, once: bool = True) -> Output:
    out, err = StringIO(), StringIO()
    options = ["--once"] if once else []
    try:
        call_command(
            "demo", *map(str, arguments), "--base-url", base_url, *options, stdout=out, stderr=err, no_color=True
        )
    except SystemExit as ended:
        return Output(int(ended.code or 0), out.getvalue(), err.getvalue())
    return Output(0, out.getvalue(), err.getvalue())


def sample(category: str = "romantic") -> list[Any]:
    export = chat_exports.read(SAMPLES[category].read_bytes())
    messages = [message for batch in export.batches for message in batch.messages(export.participants)]
    assert export.participants == EXPECTED[category].people
    assert export.dialect == EXPECTED[category].dialect
    assert not export.ambiguous_dates
    return messages


def test_every_category_has_a_sample() -> None:
    assert set(SAMPLES) == set(INSIGHTS) == set(EXPECTED)
    assert all(path.is_file() for path in SAMPLES.values())


@pytest.mark.parametrize("category", SAMPLES)
def test_a_sample_is_a_chat_over_months_in_which_everybody_writes(category: str) -> None:
    expected = EXPECTED[category]
    messages = [message for message in sample(category) if message.kind != MessageKind.SYSTEM]
    assert 250 <= len(messages) <= 450
    assert (messages[-1].sent_at - messages[0].sent_at).days in expected.days
    assert [message.sent_at for message in messages] == sorted(message.sent_at for message in messages)
    written = Counter(message.sender for message in messages)
    assert set(written) == set(expected.people)
    assert min(written.values()) > 0.65 * len(messages) / len(expected.people)


@pytest.mark.parametrize("category", SAMPLES)
def test_a_sample_contains_every_kind_of_message(category: str) -> None:
    messages = sample(category)
    assert {MessageKind.TEXT, MessageKind.MEDIA, MessageKind.DELETED, MessageKind.CALL, MessageKind.SYSTEM} <= {
        message.kind for message in messages
    }
    assert any("\n" in message.text for message in messages)
    assert any(message.edited for message in messages)


@pytest.mark.parametrize("category", SAMPLES)
def test_a_sample_names_no_real_address_or_number(category: str) -> None:
    text = SAMPLES[category].read_text(encoding="utf-8")
    assert set(re.findall(r"https?://([^/\s]+)", text)) <= {"example.org"}
    assert not re.search(r"\w@\w|\d{7,}|\+\d|www\.", re.sub(r"https?://\S+", "", text))


def test_no_two_samples_share_a_sentence() -> None:
    seen: dict[str, str] = {}
    for category in SAMPLES:
        for message in sample(category):
            sentence = " ".join(re.findall(r"\w+", message.text.lower()))
            if message.kind == MessageKind.TEXT and len(sentence.split()) > 4:
                assert seen.setdefault(sentence, category) == category, sentence


def check_insights(ran: Output, chat: Chat, *, category: str) -> list[tuple[str, str, str]]:
    """Return the number, the sender and the first line of each quote, after comparing them with the sample."""
    assert (ran.status, ran.err) == (0, "")
    insights = Insight.objects.filter(chat=chat)
    assert {(insight.insight_type_id, insight.status, insight.voided) for insight in insights} == {
        (name, "completed", False) for name in INSIGHTS[category]
    }
    for insight in insights.select_related("insight_type"):
        assert ran.out.count(insight.insight_type.title) >= 2, "when it finishes, and in the report"
    people = "|".join(EXPECTED[category].people)
    quotes = re.findall(rf"(?m)^    ┃ \d+ \w{{3,4}} \d{{4}} \d\d:\d\d #(\d+) ({people}): (.+)$", ran.out)
    spoken = {message.number: message for message in sample(category)}
    for number, sender, line in quotes:
        message = spoken[int(number)]
        assert message.sender == sender
        assert " ".join(message.text.split()).startswith(" ".join(line.removesuffix("…").split()))
    assert "sender, time and text are the same" in " ".join(ran.out.split())
    return quotes


@pytest.mark.django_db(transaction=True)
def test_the_demo_shows_every_insight_with_quotes_from_the_chat(live_server: LiveServer, worker: StartCelery) -> None:
    worker()
    ran = demo(base_url=live_server.url)
    assert len(check_insights(ran, Chat.objects.get(), category="romantic")) >= 20
    assert "2 Jun 2025   Rohan wrote the first message of this chat." in ran.out
    assert "24 Jul 2025  Nobody wrote for 3 days. Then Asha wrote again." in ran.out
    assert "They cost 400 coins; 600 are left to spend." in ran.out
    assert "password" not in ran.out
    assert audit() == []


@pytest.mark.django_db(transaction=True)
def test_the_demo_shows_every_insight_of_a_chosen_category(live_server: LiveServer, worker: StartCelery) -> None:
    worker()
    for category in ("friendship", "family", "workplace"):
        ran = demo("--category", category, base_url=live_server.url)
        quotes = check_insights(ran, Chat.objects.latest("created_at"), category=category)
        assert {sender for _, sender, _ in quotes} == set(EXPECTED[category].people)
        assert len(quotes) >= 20
        assert "They cost 250 coins; 750 are left to spend." in ran.out
        assert "everybody not rated" not in ran.out
    assert audit() == []


@pytest.mark.django_db(transaction=True)
def test_a_group_gets_the_insights_that_it_is_eligible_for_and_the_reason_for_the_others(
    live_server: LiveServer, worker: StartCelery, tmp_path: Path
) -> None:
    worker()
    group = tmp_path / "group.txt"
    group.write_bytes(exports.text(200, people=4))
    ran = demo(group, base_url=live_server.url)
    assert (ran.status, ran.err) == (0, "")
    assert "This chat has 4 people" in ran.out
    assert [insight.insight_type_id for insight in Insight.objects.all()] == ["communication_basics"]
    assert "They cost 50 coins" in ran.out


@pytest.mark.django_db(transaction=True)
def test_a_chat_too_short_for_insights_still_gets_its_statistics(live_server: LiveServer, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text(SHORT)
    ran = demo(short, base_url=live_server.url, once=False)
    assert (ran.status, ran.err) == (0, "")
    assert "12 messages on 2 Jun 2025, in 1 conversation." in ran.out
    assert "This chat has 12 messages" in ran.out
    assert not Insight.objects.exists()
    assert f"{live_server.url}/admin/" in ran.out, "without --once the addresses are printed"


@pytest.mark.django_db(transaction=True)
def test_a_report_without_insights_ends_with_the_reason(live_server: LiveServer, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text(SHORT)
    ran = demo(short, "--language", "de", base_url=live_server.url)
    assert ran.status == 1
    assert "12 messages on 2 Jun 2025, in 1 conversation." in ran.out
    assert "This chat has 12 messages" in ran.err


@pytest.mark.django_db(transaction=True)
def test_the_printed_password_and_token_are_valid(live_server: LiveServer, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text(SHORT)
    ran = demo(short, base_url=live_server.url, once=False)
    password = re.search(r"password +(\S+)", ran.out)
    assert password is not None
    staff = authenticate(username=accounts.STAFF_EMAIL, password=password[1])
    assert isinstance(staff, User)
    assert staff.is_superuser
    token = re.search(r"Bearer (rc_\S+)\"", ran.out)
    assert token is not None
    assert User.objects.get(access_tokens__digest=digest(token[1])).email == accounts.DEMO_EMAIL


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "The file is empty."),
        (b"Dear diary, nothing happened today.\n", "This is not a chat export."),
        (b"PK\x03\x04 and then nothing that is a zip", "The archive is damaged."),
    ],
)
def test_an_export_that_cannot_be_read_ends_with_the_reason(
    content: bytes, reason: str, live_server: LiveServer, tmp_path: Path
) -> None:
    file = tmp_path / "export.txt"
    file.write_bytes(content)
    ran = demo(file, base_url=live_server.url)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(reason)
    assert ran.err.count("\n") == 1
    assert not Chat.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_chats_of_an_account_are_listed_and_one_can_be_chosen(live_server: LiveServer, tmp_path: Path) -> None:
    messages = list(platforms.messages_of(SHORT.encode()))
    chats = [
        json.loads("".join(platforms.telegram(messages, name=name, chat_id=pk))) for name, pk in (("A", 7), ("B", 8))
    ]
    account = tmp_path / "result.json"
    account.write_text(json.dumps({"chats": {"list": chats}}))
    ran = demo(account, base_url=live_server.url)
    assert ran.status == 2
    assert ran.err.splitlines() == [
        "This export holds several chats. Choose one:",
        f"  --chat 7  A, {len(messages)} messages",
        f"  --chat 8  B, {len(messages)} messages",
    ]
    demo(account, "--chat", 8, base_url=live_server.url)
    assert Chat.objects.get().platform == "telegram"


@pytest.mark.parametrize("name", ["nowhere.txt", "."])
def test_a_file_that_cannot_be_opened_ends_with_the_reason(name: str, tmp_path: Path) -> None:
    ran = demo(tmp_path / name, base_url="http://127.0.0.1:9")
    assert (ran.status, ran.out) == (2, "")
    assert re.fullmatch(r".+ cannot be read: [a-z ]+\.\n", ran.err)


def test_a_file_over_the_limit_is_not_even_opened(tmp_path: Path, settings: Settings) -> None:
    settings.UPLOAD_LIMIT_BYTES = 10
    file = tmp_path / "export.txt"
    file.write_bytes(b"x" * 11)
    ran = demo(file, base_url="http://127.0.0.1:9")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("The file is too large.")


@pytest.mark.django_db
def test_without_a_server_the_demo_says_so() -> None:
    ran = demo(base_url="http://127.0.0.1:9")
    assert (ran.status, ran.out) == (1, "")
    assert "does not answer at http://127.0.0.1:9" in ran.err


@pytest.mark.django_db
def test_a_production_installation_gives_away_neither_coins_nor_a_login(settings: Settings) -> None:
    settings.EMBEDDED = False
    settings.DEBUG = False
    ran = demo(base_url="http://127.0.0.1:9", once=False)
    assert ran.status == 1
    assert "embedded stack" in ran.err
    assert not User.objects.exists()


@pytest.mark.django_db
def test_a_second_demo_adds_no_coins_and_revokes_the_first_token() -> None:
    first = accounts.issue_demo_token(min_coins=400)
    user = User.objects.get(email=accounts.DEMO_EMAIL)
    second = accounts.issue_demo_token(min_coins=1_000)
    user.wallet.refresh_from_db()
    assert user.wallet.spendable == 1_000
    assert list(user.access_tokens.filter(revoked_at=None).values_list("digest", flat=True)) == [digest(second)]
    assert digest(first) != digest(second)
    assert accounts.issue_demo_token(min_coins=400)
    user.wallet.refresh_from_db()
    assert user.wallet.spendable == 1_000, "no coins are added if there are enough"


@pytest.mark.django_db
def test_each_demo_sets_a_new_staff_password() -> None:
    first, second = accounts.reset_staff_password(), accounts.reset_staff_password()
    assert authenticate(username=accounts.STAFF_EMAIL, password=first) is None
    assert authenticate(username=accounts.STAFF_EMAIL, password=second) is not None
