"""Beside other parsers on the same files: python -m tests.benchmarks.peers [--peers DIRECTORY] [MESSAGES ...]

DIRECTORY holds what is measured beside ours, as far as it is there:

    python3 -m venv DIRECTORY/venv && DIRECTORY/venv/bin/pip install whatstk
    npm install --prefix DIRECTORY whatsapp-chat-parser

Every figure is the median of five processes (three from half a million
messages on), in turns, so that all meet the same noise. Seconds begin with the
file's bytes in memory and end with the result; starting and importing do not
count. Memory is the peak of the process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests import exports
from tests.benchmarks.stage import REPOSITORY, machine

OURS = """
import sys, time
from chats import exports
from chats.statistics import Statistics
upload = open(sys.argv[1], "rb").read()
begun = time.perf_counter()
export = exports.read(upload, limit_bytes=2**40)
counter = Statistics()
for batch in export.batches:
    %s
%s
print(time.perf_counter() - begun)
"""
PARSED = OURS % ("pass", "")
COUNTED = OURS % ("counter.add(batch)", "counter.result(export.participants)")
WHATSTK = """
import sys, time
from whatstk import WhatsAppChat
begun = time.perf_counter()
WhatsAppChat.from_source(sys.argv[1])
print(time.perf_counter() - begun)
"""
CHAT_PARSER = """
const { readFileSync } = require("fs");
const { parseString } = require("whatsapp-chat-parser");
const text = readFileSync(process.argv[1], "utf8");
const begun = process.hrtime.bigint();
parseString(text);
console.log(Number(process.hrtime.bigint() - begun) / 1e9);
"""


class Contender(NamedTuple):
    name: str
    command: tuple[str, ...]
    folder: Path


class Figure(NamedTuple):
    seconds: float
    peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("messages", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--peers", type=Path, help="where the other parsers are installed")
    options = parser.parse_args()
    contenders = list(contenders_of(options.peers))
    print(machine())
    print(f"{'messages':>10} {'people':>6}  {'':32} seconds     peak")
    with tempfile.TemporaryDirectory() as folder:
        for messages in options.messages:
            for people in (2, 40) if messages < 500_000 else (2,):
                path = exports.write(Path(folder) / "chat.txt", messages, people=people)
                for name, figure in compare(contenders, path, rounds=5 if messages < 500_000 else 3).items():
                    print(f"{messages:>10,} {people:>6}  {name:32} {figure.seconds:7.2f} {figure.peak_mib:5.0f}MiB")


def contenders_of(peers: Path | None) -> list[Contender]:
    found = [
        Contender("parse", (sys.executable, "-c", PARSED), REPOSITORY),
        Contender("parse and statistics", (sys.executable, "-c", COUNTED), REPOSITORY),
    ]
    if peers and (peers / "venv").exists():
        found.append(Contender("whatstk, parse", (str(peers / "venv/bin/python"), "-c", WHATSTK), peers))
    if peers and (peers / "node_modules").exists():
        found.append(Contender("whatsapp-chat-parser, parse", ("node", "-e", CHAT_PARSER), peers))
    return found


def compare(contenders: list[Contender], path: Path, *, rounds: int) -> dict[str, Figure]:
    runs = [[once(contender, path) for contender in contenders] for _ in range(rounds)]
    return {
        contender.name: Figure(
            statistics.median(figure.seconds for figure in figures), max(figure.peak_mib for figure in figures)
        )
        for contender, figures in zip(contenders, zip(*runs, strict=True), strict=True)
    }


def once(contender: Contender, path: Path) -> Figure:
    with subprocess.Popen(
        [*contender.command, str(path)], cwd=contender.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout
        printed = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{contender.name} failed on {path.name}.")
    return Figure(float(printed), usage.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
