"""Secrets are hidden before a line is written."""

from __future__ import annotations

import logging

import pytest
from django.core import signing

from relivchats.logs import JSONFormatter


def written(message: str) -> str:
    return JSONFormatter().format(logging.LogRecord("test", logging.WARNING, "", 0, message, None, None))


@pytest.mark.parametrize(
    "secret",
    ["rc_abcdefgh12345678", "sk_test_1234567890", "whsec_1234567890", "key-0123456789", "Bearer abcdefgh12345678"],
)
def test_a_key_or_token_is_hidden(secret: str) -> None:
    assert secret not in written(f"something said {secret} aloud")


@pytest.mark.parametrize("signer", [signing.Signer(), signing.TimestampSigner()])
def test_a_signed_link_is_hidden(signer: signing.Signer) -> None:
    signed = signer.sign("42f7c1ee")
    line = written(f"Forbidden (CSRF cookie not set.): /sandbox/{signed}")
    assert signed.split(":", 1)[1] not in line
    assert "Forbidden" in line


@pytest.mark.parametrize("line", ["a" * 300_000, "aaaaaaaa:" * 30_000, "://" + "a" * 300_000])
def test_a_very_long_line_is_scrubbed_quickly(line: str) -> None:
    """A pattern that backtracks would take minutes."""
    assert written(line)


def test_times_and_ids_are_not_changed() -> None:
    text = "took 10:42:11 for 0f6c1c9e-6d0a-4c62-8f3e-2b8f5a7d9e10"
    assert text in written(text)
