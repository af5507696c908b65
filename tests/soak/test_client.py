"""The clients of the soak test end every wait."""

from __future__ import annotations

import pytest

from tests.soak import client


def test_what_never_happens_ends_the_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 0)
    with pytest.raises(client.Unanswered, match="refund of order 7"):
        client.wait_until(lambda: False, every_seconds=0, awaited="refund of order 7")
    client.wait_until(lambda: True, every_seconds=0, awaited="nothing")
