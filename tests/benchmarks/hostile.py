"""Read and count hostile files: python -m tests.benchmarks.hostile [--megabytes N] [SHAPE ...]

Each file is measured in a separate process, and the slowest is printed first. The upload limit is 25 MB, so the default
is about the largest file that can be uploaded without compression.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

from tests.benchmarks.stage import machine

AT, IPHONE = b"13/02/2024, 21:05 - ", b"[13/02/2024, 21:05:09] "
MARK = "\u200e".encode()
Shape = Callable[[int], bytes]


def repeated(unit: bytes | str, *, after: bytes = b"") -> Shape:
    """Return a function from a size in bytes to a file that repeats the unit."""
    raw = unit if isinstance(unit, bytes) else unit.encode()
    return lambda size: after + raw * (size // len(raw))


def numbered(line: Callable[[int], bytes], *, line_bytes: int) -> Shape:
    """Return a function from a size in bytes to a file with a line for each number."""
    return lambda size: b"".join(line(number) for number in range(size // line_bytes))


def _dates_of_either_order(number: int) -> bytes:
    return b"%d/%d/%d, 10:00 - A: x\n" % (number % 12 + 1, number // 12 % 12 + 1, 2000 + number // 144 % 90)


def _two_digit_dates(number: int) -> bytes:
    return b"%02d/%02d/%02d, 10:00 - A: x\n" % (number % 28 + 1, number // 28 % 28 + 1, number // 784 % 28 + 1)


TELEGRAM = b'{"name":"x","type":"personal_chat","id":1,"messages":['
_MESSAGE = b'{"id":1,"type":"message","date":"2024-02-13T21:05:00","from":"A","text":"%b"},'
_UNCLOSED_MESSAGE = b'<div class="message default"><div title="' + b"<" + b"a" * 1_000_000
PAGE = b'<!DOCTYPE html><html><div class="page_body chat_page"><div class="message default">'

SHAPES: dict[str, Shape] = {
    "one long line": repeated("x", after=AT + b"A: "),
    "no colon": repeated("x", after=AT),
    "separators": repeated(": ", after=AT),
    "brackets": repeated("[", after=IPHONE + b"A: x\n"),
    "digits": repeated("1", after=AT + b"A: x\n"),
    "marks": repeated(MARK, after=IPHONE + b"A: "),
    "lines of marks": repeated(MARK + b"\n", after=IPHONE + b"A: x\n"),
    "combining marks": repeated("\u0301", after=AT + b"A: a"),
    "phrases before combining marks": repeated(AT + b"A: " + ("<attached" + "\u0301\u0323" * 490).encode() + b"\n"),
    "line feeds": repeated("\n", after=AT + b"A: x"),
    "carriage returns": repeated(AT + b"A: x\r"),
    "spaces": repeated(" ", after=AT + b"A:"),
    "empty messages": repeated(AT + b"A:\n"),
    "headers on one line": repeated(AT),
    "half headers": repeated(b"13/02/2024, 21:05\n", after=AT + b"A: x\n"),
    "impossible dates": repeated(b"31/02/2024, 21:05 - B: x\n", after=AT + b"A: x\n"),
    "only impossible dates": repeated(b"31/02/2024, 21:05 - B: x\n"),
    "two dialects in turn": repeated(AT + b"A: x\n" + IPHONE + b"B: y\n"),
    "dates of either order": numbered(_dates_of_either_order, line_bytes=26),
    "distinct two-digit dates": numbered(_two_digit_dates, line_bytes=26),
    "distinct senders": numbered(lambda number: AT + b"Guest %d: hi\n" % number, line_bytes=35),
    "long names": numbered(lambda number: AT + b"%0255d: x\n" % number, line_bytes=278),
    "names in other scripts": numbered(lambda number: AT + f"名前{number}群組: hi\n".encode(), line_bytes=45),
    "quotation marks": repeated('"', after=AT),
    "captions": repeated(IPHONE + b"A: y " + MARK + b"image omitted\n"),
    "marked messages": repeated(IPHONE + b"A: " + MARK + b"x\n"),
    "polls": repeated(AT + b"A: POLL:\nx\n"),
    "bad bytes": repeated(b"\xff\xc3", after=AT + b"A: "),
    "ideographs": repeated("好", after=AT + b"A: "),
    "emoji": repeated("😂", after=AT + b"A: "),
    "links": repeated("http://x.y ", after=AT + b"A: "),
    "mentions": repeated("@a ", after=AT + b"A: "),
    "brackets of JSON": repeated("[", after=b'{"messages":'),
    "lists of JSON that are not closed": repeated('"",', after=b'{"messages":' + b'["",' * 11),
    "numbers of JSON": repeated("1,", after=TELEGRAM),
    "escapes of JSON": repeated(_MESSAGE % rb"a\x0Bb", after=TELEGRAM),
    "values without quotation marks": repeated(_MESSAGE.replace(b'"A"', b"A b"), after=TELEGRAM),
    "tiny values without quotation marks": repeated('{"id":1 1},', after=TELEGRAM),
    "broken messages": repeated(_MESSAGE.replace(b'"A",', b'"A'), after=TELEGRAM),
    "broken messages between intact ones": repeated(_MESSAGE * 100 + _MESSAGE.replace(b'"A",', b'"A'), after=TELEGRAM),
    "escapes in a string that is not closed": repeated(rb"\"", after=TELEGRAM + b'{"id":1,"text":"'),
    "other elements before broken ones": repeated(b'{"x":1},' * 25_000 + b'{"x" 1},{"id":2},', after=TELEGRAM),
    "brackets after messages": repeated(_MESSAGE.removesuffix(b",") + b"],", after=TELEGRAM + b'{"x" 1},'),
    "beginnings of messages": repeated('{"id":1,', after=TELEGRAM),
    "elements of a web page": repeated("<b>", after=PAGE),
    "ends of elements": repeated("</b>", after=PAGE),
    "messages of a web page": repeated('<div class="message default"><b>', after=PAGE),
    "names of tags that are not closed": repeated(_UNCLOSED_MESSAGE, after=PAGE),
    "attributes of a web page": repeated("a" * 1_000_000 + '<div class="message default"', after=PAGE),
    "beginnings of chats": repeated('"id":1,"messages":[{', after=TELEGRAM),
}


def main() -> None:
    """Measure the shapes of the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(SHAPES))
    parser.add_argument("--megabytes", type=int, default=24)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measure(SHAPES[options.shapes[0]](options.megabytes * 1_000_000)))
        return
    print(machine())
    figures = []
    for shape in options.shapes or SHAPES:
        command = [sys.executable, "-m", "tests.benchmarks.hostile", shape, "--measure"]
        done = subprocess.run(
            [*command, "--megabytes", str(options.megabytes)], check=True, capture_output=True, text=True
        )
        seconds, peak_mib, outcome = done.stdout.strip().split(maxsplit=2)
        figures.append((float(seconds), int(peak_mib), shape, outcome))
    for cpu_seconds, peak, shape, outcome in sorted(figures, reverse=True):
        print(f"{cpu_seconds:7.2f} s  {peak:5d} MiB  {shape:28} {outcome}")


def measure(upload: bytes) -> str:
    """Return CPU seconds, the peak memory of the process in MiB, and the number of messages or the refusal."""
    from chats import exports
    from chats.exports.errors import ExportRefused
    from chats.statistics import StatisticsCounter

    begun = time.process_time()
    try:
        export, counter = exports.read(upload), StatisticsCounter()
        for batch in export.batches:
            counter.add(batch)
        counter.result(export.participants)
        outcome = f"{export.n_messages:,} messages"
    except ExportRefused as refusal:
        outcome = refusal.title
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return f"{time.process_time() - begun:.2f} {peak_mib} {outcome}"


if __name__ == "__main__":
    main()
