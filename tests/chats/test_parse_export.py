"""manage.py parse_export: the result of an upload, without a database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from relivchats.terminal import columns
from tests import exports, platforms

ROOT = Path(__file__).parents[2]
CHAT = (
    "13/02/2024, 10:00 - Asha: hello\nthere\n13/02/2024, 10:01 - Ben: <Media omitted>\n14/02/2024, 10:02 - Ben left\n"
)


def run(path: Path, *flags: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    try:
        call_command("parse_export", str(path), *flags, stdout=out, stderr=err)
    except SystemExit as exit_:
        return int(exit_.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    path = tmp_path / "export"
    path.write_bytes(exports.zipped(CHAT.encode()))
    return path


def test_json_is_one_object_with_every_message_and_the_statistics(chat: Path) -> None:
    code, out, err = run(chat, "--json")
    answer: dict[str, Any] = json.loads(out)
    assert (code, err) == (0, "")
    assert set(answer.pop("statistics")) >= {"total_messages", "user_stats"}
    plain = {"edited": False}
    assert answer == {
        "platform": "whatsapp",
        "dialect": "android-24h",
        "date_order": "dmy",
        "ambiguous_dates": False,
        "clock": "local",
        "recorded_details": ["media_kinds"],
        "title": "",
        "participants": ["Asha", "Ben"],
        "messages": [
            {"timestamp": "2024-02-13T10:00:00", "sender": "Asha", "text": "hello\nthere", "kind": "text"} | plain,
            {"timestamp": "2024-02-13T10:01:00", "sender": "Ben", "text": "<Media omitted>", "kind": "media"} | plain,
            {"timestamp": "2024-02-14T10:02:00", "sender": None, "text": "Ben left", "kind": "system"} | plain,
        ],
        "n_messages": 2,
        "n_system": 1,
        "n_unreadable": 0,
        "n_future": 0,
    }


def test_the_details_of_an_encrypted_chat_of_messenger_are_printed(tmp_path: Path) -> None:
    path = tmp_path / "Asha_12.json"
    path.write_bytes(platforms.encrypted(platforms.messages_of(exports.text(60))))
    answer = json.loads(run(path, "--json")[1])
    assert (answer["platform"], answer["dialect"], answer["clock"]) == ("messenger", "messenger-e2ee-json", "utc")
    assert answer["recorded_details"] == ["media_kinds", "reactions"]


def test_messages_of_several_batches_are_one_list(tmp_path: Path) -> None:
    answer = json.loads(run(exports.write(tmp_path / "chat.txt", 11_000), "--json")[1])
    assert len(answer["messages"]) == answer["n_messages"] + answer["n_system"] == 11_000


def test_only_the_messages_of_a_period_are_read(chat: Path) -> None:
    answer = json.loads(run(chat, "--json", "--from", "2024-02-14")[1])
    assert [message["text"] for message in answer["messages"]] == ["Ben left"]
    assert (answer["n_messages"], answer["n_system"], answer["statistics"]["total_messages"]) == (0, 1, 0)
    answer = json.loads(run(chat, "--json", "--from", "2024-02-13", "--to", "2024-02-13")[1])
    assert (answer["n_messages"], answer["n_system"], answer["statistics"]["total_messages"]) == (2, 0, 2)
    assert run(chat, "--to", "2024-02-12")[0] == 0


def test_messages_from_the_future_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    path.write_text("13/02/2024, 10:00 - Asha: hello\n13/02/2094, 10:01 - Ben: hi\n13/02/2094, 10:02 - Ben left\n")
    assert json.loads(run(path, "--json")[1])["n_future"] == 1
    assert "1 message dated later than today" in run(path)[1]


def test_a_period_that_ends_before_it_starts_is_refused(chat: Path) -> None:
    with pytest.raises(CommandError, match="--to is before --from"):
        call_command("parse_export", str(chat), "--from", "2024-02-14", "--to", "2024-02-13", stdout=StringIO())


def test_values_that_cannot_be_read_are_reported(tmp_path: Path, chat: Path) -> None:
    rows = [{"id": number, "type": "message", "date": "2024-03-14T10:00:00", "from": "Asha"} for number in range(3)]
    document = {"name": "Asha", "type": "personal_chat", "id": 7, "messages": rows}
    path = tmp_path / "result.json"
    for undated, reported in ((1, "1 value could not be read"), (2, "2 values could not be read")):
        rows[undated]["date"] = "some day"
        path.write_text(json.dumps(document))
        assert json.loads(run(path, "--json")[1])["n_unreadable"] == undated
        assert f"  {reported}\n" in run(path)[1]
    assert "could not be read" not in run(chat)[1]


def test_a_day_that_does_not_exist_is_refused(chat: Path) -> None:
    with pytest.raises(CommandError, match="2024-01-31"):
        call_command("parse_export", str(chat), "--from", "2024-02-30", stdout=StringIO())


def test_the_summary_shows_statistics_and_no_message(tmp_path: Path) -> None:
    code, out, _ = run(exports.write(tmp_path / "chat.txt", 3_000))
    assert code == 0
    for part in ("android-24h", "by 2 people", "People", "Aarav", "Months", "2021-03", "Weekdays", "Monday", "Hours"):
        assert part in out, part
    assert "█" in out
    assert max(map(columns, out.splitlines())) <= 80
    assert len(out.splitlines()) < 60
    texts = [message["text"] for message in json.loads(run(tmp_path / "chat.txt", "--json")[1])["messages"]]
    assert not [text for text in texts if len(text) > 20 and text in out]


def test_the_summary_of_one_message_has_no_plurals_or_escapes(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    path.write_text("13/02/2024, 10:00 - \u001b[2JAsha: <Media omitted>\n", encoding="utf-8")
    code, out, _ = run(path)
    assert (code, "1 message by 1 person, 0 system lines" in out, "\u001b" in out) == (0, True, False)


def test_an_unknown_time_zone_is_refused(chat: Path) -> None:
    with pytest.raises(CommandError, match="no time zone"):
        call_command("parse_export", str(chat), "--time-zone", "Mars/Olympus", stdout=StringIO())


def test_a_time_zone_does_not_change_wall_clock_times(chat: Path) -> None:
    assert run(chat, "--json", "--time-zone", "Asia/Tokyo") == run(chat, "--json")


def test_an_option_sets_the_order_of_ambiguous_dates(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    path.write_text("03/04/2024, 10:00 - Asha: x\n", encoding="utf-8")
    assert json.loads(run(path, "--json")[1])["messages"][0]["timestamp"] == "2024-04-03T10:00:00"
    answer = json.loads(run(path, "--json", "--date-order", "mdy")[1])
    assert answer["messages"][0]["timestamp"] == "2024-03-04T10:00:00"


@pytest.mark.parametrize(
    ("content", "error", "code"),
    [
        (b"", "The file is empty", "ERR_3002"),
        (b"hello", "This is not a chat export", "ERR_3003"),
        (b"PK\x03\x04junk", "The archive is damaged", "ERR_3003"),
        (b"13/02/2024, 10:00 - Ben left\n", "The chat has only system messages", "ERR_3002"),
        (b"31/02/2024, 10:00 - Ben: x\n", "This is not a chat export", "ERR_3003"),
        (None, "This file cannot be opened", "ERR_3003"),
    ],
)
def test_a_refusal_prints_an_object_or_a_sentence_and_exits_with_status_two(
    tmp_path: Path, content: bytes | None, error: str, code: str
) -> None:
    path = tmp_path / "chat.txt"
    if content is not None:
        path.write_bytes(content)
    status, out, err = run(path, "--json")
    assert (status, json.loads(out), err) == (2, {"error": error, "code": code}, "")
    status, out, err = run(path)
    assert (status, out) == (2, "")
    title, advice = err.splitlines()
    assert (title, advice.endswith(".")) == (f"{error}.", True)


def test_no_server_is_started(chat: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    environment = {**os.environ, "RELIVCHATS_DATA": str(data)}
    for name in ("DATABASE_URL", "REDIS_URL"):
        environment.pop(name, None)
    command = [sys.executable, "manage.py", "parse_export", str(chat), "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, timeout=600)
    assert json.loads(done.stdout)["n_messages"] == 2
    assert not (data / "postgres").exists()
    assert not list(data.glob("run/*.pid"))


def test_a_closed_pipe_is_not_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    # The result is the same for every command, and this one is fast.
    command = [sys.executable, "-c", "import manage; manage.run = lambda: print('ran'); manage.main()"]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_chats_of_a_file_are_listed_and_one_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "two.zip"
    path.write_bytes(platforms.zipped({"a.txt": CHAT.encode(), "b.txt": CHAT.encode() * 2}))
    status, out, err = run(path)
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        "There is more than one chat in this upload.",
        "  --chat 2  b, 4 messages",
        "  --chat 1  a, 2 messages",
    ]
    refusal = json.loads(run(path, "--json")[1])
    assert (refusal["code"], refusal["chats"][0]) == ("ERR_3003", {"id": "2", "title": "b", "messages": 4})
    assert json.loads(run(path, "--json", "--chat", "1")[1])["n_messages"] == 2
