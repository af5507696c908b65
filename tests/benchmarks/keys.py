"""Measure what the key store costs: `python -m tests.benchmarks.keys`.

A page of 100 chats, the import of a small chat, and its deletion, in turns with and without the key store. The queries
and the serialization are those of the API; there is no HTTP, so that the difference is not lost in it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from tests import exports
from tests.benchmarks import stage

CHATS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(stage.machine())
    with stage.installation(), tempfile.TemporaryDirectory() as parent:
        measure(str(Path(parent) / "store"), rounds=rounds)


def measure(directory: str, *, rounds: int) -> None:
    from django.conf import settings
    from rest_framework.test import APIClient

    from chats import keys
    from chats.erasure import erase
    from chats.importing import import_chat
    from chats.key_models import KeyStoreIdentity
    from chats.models import Chat
    from relivchats.accounts.models import User

    # With the key store first: without it, it must not be known yet.
    owners = {name: User.objects.create_user(f"{name}@example.com") for name in ("with", "without")}
    contents = [exports.text(50, seed=seed) for seed in range(CHATS)]
    times: dict[tuple[str, str], list[float]] = {}

    def use(name: str) -> User:
        KeyStoreIdentity.objects.all().delete()
        settings.KEY_STORE_DIR = directory if name == "with" else ""
        return owners[name]

    def record(what: str, name: str, started: float) -> None:
        times.setdefault((what, name), []).append(time.perf_counter() - started)

    for content in contents:
        for name in owners:
            owner, started = use(name), time.perf_counter()
            import_chat(owner=owner, upload=content)
            record("import of 50 messages", name, started)
    for _ in range(rounds):
        for name in owners:
            owner = use(name)
            client = APIClient(HTTP_HOST="localhost")
            client.force_authenticate(owner)
            started = time.process_time()
            page = client.get(f"/api/chats?limit={CHATS}")
            times.setdefault((f"processor time of a page of {CHATS} chats", name), []).append(
                time.process_time() - started
            )
            assert len(page.json()["results"]) == CHATS
            assert all(chat["is_openable"] for chat in page.json()["results"])
    for name in owners:
        for chat in Chat.objects.owned_by(use(name)):
            started = time.perf_counter()
            erase(chat)
            record("deletion", name, started)
    use("with")
    assert keys.survey().unused_files == []
    for (what, name), seconds in sorted(times.items()):
        middle, fastest = (1000 * value for value in (statistics.median(seconds), min(seconds)))
        print(f"{what}, {name} the key store: {middle:.1f} ms (median of {len(seconds)}), at least {fastest:.1f} ms")


if __name__ == "__main__":
    main()
