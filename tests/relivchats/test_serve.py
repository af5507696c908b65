"""The command lines of the processes."""

from __future__ import annotations

import pytest

from relivchats import serve


@pytest.mark.parametrize(("limit", "threads"), [("8", 28), ("50", 112), ("0", 12), ("", 28), ("many", 28)])
def test_readings_and_insights_at_their_limits_leave_threads_for_other_tasks(
    monkeypatch: pytest.MonkeyPatch, limit: str, threads: int
) -> None:
    monkeypatch.setenv("MAX_CONCURRENT_INSIGHTS", limit)
    words = serve.worker()
    assert words[words.index("--concurrency") + 1] == str(threads)
