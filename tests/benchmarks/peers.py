"""Compare with other parsers on the same files: python -m tests.benchmarks.peers [--peers DIRECTORY] [MESSAGES ...]

DIRECTORY contains the other parsers. Those that are not installed are omitted:

    python3 -m venv DIRECTORY/venv && DIRECTORY/venv/bin/pip install whatstk
    npm install --prefix DIRECTORY whatsapp-chat-parser

Each figure is the median of five processes. The parsers alternate, so that load on the machine affects all of them. A
parser that takes more than ten seconds runs once. The seconds begin with the bytes of the file in memory and end with
the result, without start and imports. The second figure is CPU seconds, for machines with other load (Node collects
garbage on additional threads). The third is the peak memory of the process. The same chat as an export of Telegram, of
Instagram and of Messenger's encrypted chats follows, for our parser only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests import exports
from tests.benchmarks.stage import REPOSITORY, machine

READING = """
import sys, time
from chats import exports
from chats.statistics import StatisticsCounter
upload = open(sys.argv[1], "rb").read()
begun, worked = time.perf_counter(), time.process_time()
export = exports.read(upload, limit_bytes=2**40)
counter = StatisticsCounter()
for batch in export.batches:
    %s
%s
print(time.perf_counter() - begun, time.process_time() - worked)
"""
PARSED = READING % ("pass", "")
COUNTED = READING % ("counter.add(batch)", "counter.result(export.participants)")
WHATSTK = """
import sys, time
from whatstk import WhatsAppChat
begun, worked = time.perf_counter(), time.process_time()
WhatsAppChat.from_source(sys.argv[1], max_size=None)
print(time.perf_counter() - begun, time.process_time() - worked)
"""
CHAT_PARSER = """
const { readFileSync } = require("fs");
const { parseString } = require("whatsapp-chat-parser");
const text = readFileSync(process.argv[1], "utf8");
const begun = process.hrtime.bigint(), before = process.cpuUsage();
parseString(text);
const seconds = Number(process.hrtime.bigint() - begun) / 1e9, work = process.cpuUsage(before);
console.log(seconds, (work.user + work.system) / 1e6);
"""

MANY_MESSAGES = 500_000
SLOW_SECONDS = 10


class Contender(NamedTuple):
    name: str
    command: tuple[str, ...]
    folder: Path


class Figure(NamedTuple):
    seconds: float
    work: float
    peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("messages", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--peers", type=Path, help="directory with the other parsers")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    peers = [] if options.peers is None else list(installed_contenders(options.peers))
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for messages in options.messages:
            for people in (2, 40) if messages < MANY_MESSAGES else (2,):
                path = exports.write(Path(folder) / "chat.txt", messages, people=people)
                title = f"{messages:,} messages, {people} people"
                report(title, OURS + peers, path, options.rounds)
                if messages >= MANY_MESSAGES or people > 2:
                    continue
                for platform, converted in convert_to_other_platforms(path):
                    report(f"{title}, {platform}", OURS, converted, options.rounds)


def convert_to_other_platforms(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the same chat as exports of the other platforms, which only our parser reads."""
    # In a separate process: a child that is measured later inherits the peak memory of this one.
    convert = (sys.executable, "-m", "tests.platforms", str(path))
    result, pages = path.with_name("result.json"), path.with_name("instagram.zip")
    subprocess.run([*convert, str(result)], check=True, cwd=REPOSITORY)
    yield "Telegram", result
    subprocess.run([*convert, str(pages), "--instagram", "--page-messages", "10000"], check=True, cwd=REPOSITORY)
    yield "Instagram", pages
    secured = path.with_name("messenger.zip")
    subprocess.run([*convert, str(secured), "--encrypted"], check=True, cwd=REPOSITORY)
    yield "Messenger", secured


def report(title: str, contenders: list[Contender], path: Path, rounds: int) -> None:
    print(f"{title}, {path.stat().st_size / 1e6:.1f} MB")
    for name, runs in compare(contenders, path, rounds=rounds).items():
        seconds, work = (statistics.median(each) for each in zip(*(run[:2] for run in runs), strict=True))
        peak_mib = max(run.peak_mib for run in runs)
        print(f"  {name:32} {seconds:6.2f} s {work:6.2f} s {peak_mib:4.0f} MiB  {len(runs)} runs", flush=True)


OURS = [
    Contender("parse", (sys.executable, "-c", PARSED), REPOSITORY),
    Contender("parse and statistics", (sys.executable, "-c", COUNTED), REPOSITORY),
]


def installed_contenders(peers: Path) -> Iterator[Contender]:
    if (peers / "venv").exists():
        yield Contender("whatstk, parse", (str(peers / "venv/bin/python"), "-c", WHATSTK), peers)
    if (peers / "node_modules").exists():
        yield Contender("whatsapp-chat-parser, parse", ("node", "-e", CHAT_PARSER), peers)


def compare(contenders: list[Contender], path: Path, *, rounds: int) -> dict[str, list[Figure]]:
    runs: dict[str, list[Figure]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for name, command, folder in contenders:
            if not runs[name] or runs[name][0].seconds < SLOW_SECONDS:
                runs[name].append(run_once(Contender(name, command, folder), path))
    return runs


def run_once(contender: Contender, path: Path) -> Figure:
    with subprocess.Popen(
        [*contender.command, str(path)], cwd=contender.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout
        printed = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{contender.name} failed on {path.name}.")
    seconds, work = map(float, printed.split())
    return Figure(seconds, work, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
