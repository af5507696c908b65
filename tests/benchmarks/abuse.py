"""Measure what other clients notice of an attack: `python -m tests.benchmarks.abuse [ATTACK ...] [--seconds N]`.

For each attack: how long the requests of one other client take meanwhile (its list of chats, the catalogue and health,
ten times a second), what the attackers are answered, and the memory of the web processes and of the worker at their
peak and 10 s after the attack. Memory is that of a process and its children (proportional set size, so that what they
share counts once). The servers are those of `./dev up`, without rate limits.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from tests import exports, platforms
from tests.benchmarks import stage

UPLOAD_BYTES = 24 * 1024 * 1024
BOUNDARY = "a-boundary-that-no-message-holds"
PATHS = ("/api/chats", "/api/categories", "/health/live")
MIB = 1024 * 1024
REST_SECONDS = 10


class Attack(NamedTuple):
    """Attackers that run in threads until the event is set. Each call of `step` is one request or connection."""

    title: str
    attackers: int
    step: Callable[[Target, threading.Event], object]
    #: Called before it starts.
    prepare: Callable[[Target], None] = lambda target: None
    #: Runs meanwhile in a thread; it returns what the table says about it.
    beside: Callable[[Target], str] | None = None


class Target:
    """The servers, and what the attackers send."""

    def __init__(self, port: int, tokens: list[str]) -> None:
        self.port = port
        self.tokens = tokens
        part = exports.text(50_000)
        self.text = (part * (UPLOAD_BYTES // len(part) + 1))[:UPLOAD_BYTES]
        chat = self.text[: UPLOAD_BYTES // 4]
        self.archive = platforms.zipped({f"WhatsApp Chat with {number}.txt": chat for number in range(4)})
        self.answers: Counter[str] = Counter()
        #: Tokens and chats of accounts with coins: large ones, and a small one of somebody else.
        self.chats: list[tuple[str, str]] = []
        self.small_chat = ("", "")
        self._numbers = iter(range(1_000_000))

    def token(self) -> str:
        """Return the token of the next account."""
        return self.tokens[next(self._numbers) % len(self.tokens)]

    def send(self, method: str, path: str, body: bytes = b"", *, token: str = "", **headers: str) -> bytes:
        """Send a request, and count the status of its answer."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120, source_address=(own_address(), 0))
        with contextlib.closing(client):
            try:
                client.request(
                    method, path, body, {"Authorization": f"Bearer {token}", **headers} if token else headers
                )
                answer = client.getresponse()
                content = answer.read()
                self.answers[str(answer.status)] += 1
                return content
            except OSError as error:
                self.answers[type(error).__name__] += 1
                return b""

    def upload(self, content: bytes, *, token: str = "") -> bytes:
        """Upload a file."""
        body = b"\r\n".join(
            (
                f"--{BOUNDARY}".encode(),
                b'Content-Disposition: form-data; name="file"; filename="chat"',
                b"",
                content,
                f"--{BOUNDARY}--\r\n".encode(),
            )
        )
        form = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.send("POST", "/api/chats/upload", body, token=token or self.token(), **form)


def own_address() -> str:
    """Return the address of the attacker of this thread."""
    return f"127.0.1.{int(threading.current_thread().name) + 1}"


def connect(target: Target) -> socket.socket:
    """Return a connection from the attacker's own address."""
    return socket.create_connection(("127.0.0.1", target.port), timeout=60, source_address=(own_address(), 0))


def slow_body(target: Target, ended: threading.Event) -> None:
    """Declare a large body and send a byte in a second, until the server gives up."""
    with contextlib.suppress(OSError), connect(target) as client:
        head = f"POST /api/chats/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {UPLOAD_BYTES}\r\n"
        client.sendall(f"{head}Authorization: Bearer {target.token()}\r\n\r\n".encode())
        client.setblocking(False)
        while not ended.wait(1):
            client.send(b"x")
            with contextlib.suppress(BlockingIOError):
                target.answers[client.recv(12).decode()[-3:] or "closed"] += 1
                return
        target.answers["open"] += 1


def idle_connections(target: Target, ended: threading.Event) -> None:
    """Open 250 connections that send nothing, and open those again that the server closes."""
    with contextlib.ExitStack() as opened:
        while not ended.is_set():
            for _ in range(250):
                with contextlib.suppress(OSError):
                    opened.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=5))
            ended.wait(20)
            opened.pop_all().close()


def unlock(target: Target, ended: threading.Event) -> None:
    """Unlock a category of the next chat, once."""
    if target.chats:
        request_insights(target, *target.chats.pop())
    ended.wait(1)


def request_insights(target: Target, token: str, chat_id: str) -> str:
    """Unlock a category of a chat. Return the id of the job."""
    body = f'{{"chat_id": "{chat_id}", "category_id": "romantic"}}'.encode()
    answer = target.send("POST", "/api/insights/unlock", body, token=token, **{"Content-Type": "application/json"})
    return str(json.loads(answer)["job_id"])


def await_small_insights(target: Target) -> str:
    """Unlock a category of the small chat, and return how long its insights take."""
    token, chat_id = target.small_chat
    # The large ones are being worked on by then.
    time.sleep(5)
    started = time.monotonic()
    job = request_insights(target, token, chat_id)
    while True:
        status = json.loads(target.send("GET", f"/api/insights/jobs/{job}/status", token=token))
        if status["status"] not in ("queued", "running"):
            return f"a small chat's insights {status['status']} after {time.monotonic() - started:.0f} s"
        time.sleep(1)


def import_large_chats(target: Target) -> None:
    """Import a chat of 22 MB for each of eight accounts with coins, and a small one for another account."""
    from billing import ledger
    from chats import parsing_processes
    from chats.importing import import_chat
    from relivchats.accounts.models import User
    from relivchats.accounts.tokens import issue

    # In this process, which is not measured.
    parsing_processes.SMALL_BYTES = UPLOAD_BYTES
    for upload in (*[target.text[: 22 * MIB]] * 8, exports.text(1_000)):
        owner = User.objects.create_user(f"{uuid.uuid4().hex}@example.org")
        ledger.adjust(wallet=owner.wallet, amount=800, actor="benchmark", reason="benchmark", idempotency_key="coins")
        target.chats.append((issue(owner), str(import_chat(owner=owner, upload=upload).pk)))
    target.small_chat = target.chats.pop()


def guess(target: Target, ended: threading.Event) -> None:
    """Try a token or a password, five times a second."""
    if int(threading.current_thread().name) % 2:
        target.send("GET", "/api/chats", token=f"rc_{uuid.uuid4().hex}")
    else:
        # Django accepts a token for forms that is as long as its cookie.
        csrf = uuid.uuid4().hex
        form = f"csrfmiddlewaretoken={csrf}&username=admin@example.org&password={uuid.uuid4().hex}".encode()
        headers = {"Cookie": f"csrftoken={csrf}", "Content-Type": "application/x-www-form-urlencoded"}
        target.send("POST", "/admin/login/", form, **headers)
    ended.wait(0.2)


ATTACKS = {
    "none": Attack("no attack", 0, lambda target, ended: None),
    "slow8": Attack("8 slow bodies", 8, slow_body),
    "slow50": Attack("50 slow bodies", 50, slow_body),
    "idle": Attack("2,000 idle connections", 8, idle_connections),
    "uploads": Attack("20 uploads of 24 MB", 20, lambda target, ended: target.upload(target.text)),
    "archives": Attack("8 archives of 4 chats", 8, lambda target, ended: target.upload(target.archive)),
    "both": Attack(
        "50 slow bodies and 20 uploads",
        70,
        lambda target, ended: (
            target.upload(target.text) if int(threading.current_thread().name) % 7 < 2 else slow_body(target, ended)
        ),
    ),
    "schema": Attack("16 clients on the schema", 16, lambda target, ended: target.send("GET", "/api/schema")),
    "guesses": Attack("50 password and token guesses a second", 10, guess),
    "unlocks": Attack("8 exports of 22 MB unlocked", 8, unlock, import_large_chats, await_small_insights),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=", ".join(ATTACKS))
    parser.add_argument("--seconds", type=int, default=60)
    chosen = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"{stage.machine()}, load {os.getloadavg()[0]:.0f} before", flush=True)
    print("| attack | p50 | p95 | max | web at its peak, after | worker at its peak, after | answers |")
    print("|---|---|---|---|---|---|---|")
    with stage.installation(), stage.web() as web, worker() as worker_process:
        from relivchats.accounts.models import User
        from relivchats.accounts.tokens import issue

        tokens = [issue(User.objects.create_user(f"{number}@example.org")) for number in range(21)]
        target = Target(web.port, tokens[1:])
        for name in chosen.attacks or ATTACKS:
            attack = ATTACKS[name]
            attack.prepare(target)
            processes = {"web": web.process, "worker": worker_process}
            result = run(attack, target, token=tokens[0], processes=processes, seconds=chosen.seconds)
            print(result.row(attack.title), flush=True)
    print(f"load {os.getloadavg()[0]:.0f} after")


class Result(NamedTuple):
    """The sorted times of the other client's requests, and the bytes of each process at its peak and after."""

    milliseconds: list[float]
    peaks: dict[str, int]
    after: dict[str, int]
    answers: Counter[str]
    #: What the attack's `beside` returned.
    notes: list[str]

    def row(self, title: str) -> str:
        """Return the row of the table."""
        p95 = statistics.quantiles(self.milliseconds, n=20, method="inclusive")[-1]
        memory = [f"{self.peaks[name] // MIB}, {self.after[name] // MIB} MiB" for name in self.peaks]
        counts = [f"{count} × {status}" for status, count in self.answers.most_common()]
        answers = "; ".join([", ".join(counts), *self.notes])
        times = (statistics.median(self.milliseconds), p95, self.milliseconds[-1])
        return f"| {' | '.join([title, *(f'{each:.0f} ms' for each in times), *memory, answers])} |"


def run(attack: Attack, target: Target, *, token: str, processes: dict[str, psutil.Process], seconds: int) -> Result:
    """Run the attack, and requests of another client. Fail if one of those does not succeed."""
    target.answers.clear()
    ended = threading.Event()
    peaks = dict.fromkeys(processes, 0)

    def attack_on() -> None:
        while not ended.is_set():
            attack.step(target, ended)

    def watch() -> None:
        while not ended.wait(0.25):
            for name, process in processes.items():
                peaks[name] = max(peaks[name], memory_of(process))

    notes: list[str] = []
    threads = [threading.Thread(target=attack_on, name=str(n), daemon=True) for n in range(attack.attackers)]
    if attack.beside:
        beside = attack.beside
        threads.append(threading.Thread(target=lambda: notes.append(beside(target)), name="100", daemon=True))
    for thread in (*threads, watching := threading.Thread(target=watch)):
        thread.start()
    milliseconds = sorted(measure(target.port, token, seconds=seconds))
    ended.set()
    for thread in (*threads, watching):
        thread.join(300)
    time.sleep(REST_SECONDS)
    after = {name: memory_of(process) for name, process in processes.items()}
    return Result(milliseconds, peaks, after, target.answers.copy(), notes)


def measure(port: int, token: str, *, seconds: int) -> Iterator[float]:
    """Send requests of another client, and yield how long each took, in milliseconds."""
    ends = time.monotonic() + seconds
    number = 0
    while time.monotonic() < ends:
        started = time.perf_counter()
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        with contextlib.closing(client):
            client.request("GET", PATHS[number % len(PATHS)], headers={"Authorization": f"Bearer {token}"})
            answer = client.getresponse()
            answer.read()
            assert answer.status == http.HTTPStatus.OK, (PATHS[number % len(PATHS)], answer.status)
        yield (time.perf_counter() - started) * 1000
        number += 1
        time.sleep(0.1)


def memory_of(process: psutil.Process) -> int:
    """Return the proportional set size of a process and its children, in bytes."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(OSError, psutil.Error):
            lines = Path(f"/proc/{each.pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


@contextlib.contextmanager
def worker() -> Iterator[psutil.Process]:
    """Run one worker and beat, as `./dev up` does."""
    from relivchats import serve

    schedule = str(Path(os.environ["RELIVCHATS_DATA"]) / "beat.schedule")
    environment = {**os.environ, "CELERY_WORKER": "true"}
    with contextlib.ExitStack() as running:
        children = []
        for words in (serve.worker(), serve.beat(schedule=schedule)):
            command = [sys.executable, "-m", *words]
            child = running.enter_context(
                subprocess.Popen(
                    command, cwd=stage.REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
            running.callback(child.terminate)
            children.append(child)
        yield psutil.Process(children[0].pid)


if __name__ == "__main__":
    main()
