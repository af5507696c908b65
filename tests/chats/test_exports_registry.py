"""Each platform has one complete parser, and other modules do not compare platform names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from chats import exports
from chats.exports.parsed import Clock, Platform
from chats.exports.registry import PARSERS, get_parser

ROOT = Path(__file__).resolve().parents[2]
#: One export of each platform. A new platform needs one too.
SAMPLES = {
    Platform.WHATSAPP: "sample.txt",
    Platform.TELEGRAM: "sample-telegram.json",
    Platform.INSTAGRAM: "sample-instagram.zip",
    Platform.MESSENGER: "sample-messenger.zip",
}


def test_each_platform_has_one_parser() -> None:
    assert [parser.platform for parser in PARSERS] == list(Platform)
    with pytest.raises(LookupError):
        get_parser("signal")


@pytest.mark.parametrize("platform", Platform)
def test_each_parser_declares_everything(platform: Platform) -> None:
    parser = get_parser(platform)
    assert parser.platform is platform
    assert parser.name.lower() == platform.value
    assert parser.clock in get_args(Clock)
    assert isinstance(parser.has_date_order, bool)
    assert isinstance(parser.reads_pages, bool)
    for json_format in parser.json_formats:
        assert json_format.members
        assert not json_format.is_message({})
    assert parser.find_chats.__doc__
    assert len(platform.value) <= 16, "the column chats.platform has 16 characters"


def test_no_two_json_formats_share_a_message_or_the_members() -> None:
    formats = {json_format for parser in PARSERS for json_format in parser.json_formats}
    assert len({json_format.members for json_format in formats}) == len(formats)
    for row in (
        {"id": 1, "date": "2024-02-13T21:05:00"},
        {"sender_name": "Asha", "timestamp_ms": 1},
        {"senderName": "Asha", "timestamp": 1},
    ):
        assert sum(json_format.is_message(row) for json_format in formats) == 1


@pytest.mark.parametrize("platform", Platform)
def test_the_sample_of_each_platform_is_read_by_its_parser(platform: Platform) -> None:
    export = exports.read((ROOT / "ops" / "demo" / SAMPLES[platform]).read_bytes())
    assert (export.platform, export.clock) == (platform, get_parser(platform).clock)
    assert sum(map(len, export.batches)) > 400


@pytest.mark.parametrize("platform", Platform)
def test_the_guide_describes_each_platform(platform: Platform) -> None:
    guide = (ROOT / "docs" / "imports.md").read_text(encoding="utf-8")
    assert get_parser(platform).name in guide
    assert f"exports/{platform.value}.py" in guide


def test_no_other_module_compares_with_the_name_of_a_platform() -> None:
    """A comparison with a literal platform would have to be found and repeated for the next platform."""
    literal = re.compile(rf"""[=!]= ?["']({"|".join(Platform)})["']|["']({"|".join(Platform)})["']: """)
    found = [
        str(path.relative_to(ROOT))
        for folder in ("relivchats", "chats", "billing", "insights", "ops")
        for path in (ROOT / folder).rglob("*.py")
        if literal.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []
