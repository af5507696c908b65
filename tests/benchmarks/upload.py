"""Measure the time and memory of an upload: `python -m tests.benchmarks.upload`.

Uploads 100,000 messages over HTTP, and imports 1,000,000 messages with `import_chat` in a separate process, with the
time of each stage.
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests import exports
from tests.benchmarks import stage

BOUNDARY = "a-boundary-that-no-message-holds"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offline", type=Path, help="import this file in this process and print the figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--messages-offline", type=int, default=1_000_000)
    chosen = parser.parse_args()
    if chosen.offline:
        offline(chosen.offline)
        return
    print(stage.machine())
    with stage.installation() as directory:
        over_http(exports.text(chosen.messages), rounds=chosen.rounds)
        large = directory / "large.zip"
        large.write_bytes(exports.zipped(exports.text(chosen.messages_offline)))
        print(
            f"{chosen.messages_offline:,} messages offline, {stage.megabytes(large.stat().st_size)} zipped:", flush=True
        )
        subprocess.run([sys.executable, "-m", "tests.benchmarks.upload", "--offline", str(large)], check=True)


def over_http(content: bytes, *, rounds: int) -> None:
    from relivchats.accounts.models import User
    from relivchats.accounts.tokens import issue

    # Each round uploads as another user: a second upload of one user would be recognized as identical.
    tokens = [issue(User.objects.create_user(f"benchmark{number}@example.com")) for number in range(rounds)]
    with stage.web() as web:
        before, worked = web.peak_bytes(), web.cpu_seconds()
        seconds = [_upload(web.port, token, content) for token in tokens]
        print(f"upload of {stage.megabytes(len(content))} over HTTP: {stage.median(seconds)}, first {seconds[0]:.2f} s")
        print(f"  of work in the web process: {(web.cpu_seconds() - worked) / rounds:.2f} s each")
        print(f"  web process: {stage.megabytes(before)} before, {stage.megabytes(web.peak_bytes())} at its peak")


def _upload(port: int, token: str, content: bytes) -> float:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="chat.txt"\r\n\r\n'.encode()
    body = head + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    started = time.perf_counter()
    connection.request("POST", "/api/chats/upload", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == http.HTTPStatus.CREATED, (answer.status, text[:300])
    return time.perf_counter() - started


def offline(path: Path) -> None:
    import django

    django.setup()
    from chats.importing import import_chat
    from relivchats.accounts.models import User

    owner = User.objects.create_user("offline@example.com")
    # As in the view, only import_chat has a reference to the upload, so that it can be freed.
    upload = [path.read_bytes()]
    chat, spent = stage.timed(lambda: import_chat(owner=owner, upload=upload.pop()))
    peak = stage.peak_bytes(psutil.Process())
    print(f"  {chat.message_count:,} messages in {spent}, {stage.megabytes(peak)} at the peak")
    print_shares(path.read_bytes(), whole=spent)


def print_shares(content: bytes, *, whole: stage.Spent) -> None:
    """Print the processor time of each stage: parsing alone, and parsing with one other stage, less the parsing."""
    from uuid import uuid4

    from chats import exports as exports_package
    from chats.statistics import StatisticsCounter
    from chats.transcript import BlockSealer, chat_context
    from relivchats.crypto import new_data_key

    def parse() -> None:
        for _ in exports_package.read(content).batches:
            pass

    def count() -> None:
        export, counter = exports_package.read(content), StatisticsCounter()
        for batch in export.batches:
            counter.add(batch)
        counter.result(export.participants)

    def seal() -> int:
        sealer = BlockSealer(new_data_key(), chat_context(uuid4()))
        for batch in exports_package.read(content).batches:
            sealer.add(batch)
        return sum(len(block.sealed) for block in sealer.finish())

    _, parsing = stage.timed(parse)
    _, counting = stage.timed(count)
    size, sealing = stage.timed(seal)
    stages = {
        "parse": parsing.work,
        "statistics": counting.work - parsing.work,
        "seal": sealing.work - parsing.work,
        "store": whole.work - counting.work - sealing.work + parsing.work,
    }
    print("  of work: " + ", ".join(f"{name} {max(0.0, seconds):.2f} s" for name, seconds in stages.items()), end="")
    print(f"; {stage.megabytes(size)} sealed")


if __name__ == "__main__":
    main()
