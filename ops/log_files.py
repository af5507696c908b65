"""The last lines of the logs that are files: those of `./dev up`. Containers log to Docker."""

from __future__ import annotations

import re
import shlex
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from relivchats import embedded, installation

FOLLOW_SECONDS = 0.5
#: They are held in memory.
MAX_LINES = 100_000
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)")


def paths(parts: Sequence[str]) -> dict[str, Path]:
    """Return the log of each part that has one."""
    directory = embedded.data_directory() / "logs"
    found = {part: directory / f"{part}.log" for part in parts}
    return {part: path for part, path in found.items() if path.exists()}


def last_lines(path: Path, *, lines: int, since: timedelta | None = None, grep: str = "") -> list[str]:
    """Return the last lines of a log and of the file that it was rotated to, which contain the text."""
    kept: deque[str] = deque(maxlen=lines)
    start = "" if since is None else f"{datetime.now(UTC) - since:%Y-%m-%d %H:%M:%S}"
    # A line without a time, such as one of a traceback, belongs to the line before.
    is_shown = not start
    for file in (path.with_name(f"{path.name}.1"), path):
        if not file.exists():
            continue
        with file.open(errors="replace") as log:
            for line in log:
                if start and (found := _TIME.search(line, 0, 80)):
                    is_shown = f"{found[1]} {found[2]}" >= start
                if is_shown and matches(line, grep):
                    kept.append(line.rstrip("\n"))
    return list(kept)


def matches(line: str, grep: str) -> bool:
    """Return whether a line contains the text, or one of several with | between them, without regard to case."""
    return not grep or any(word.lower() in line.lower() for word in grep.split("|") if word)


def follow(logs: dict[str, Path], *, grep: str) -> Iterator[tuple[str, str]]:
    """Yield the part and the text of each line that is written from now on, for ever."""
    return _follow(logs, {part: path.stat().st_size for part, path in logs.items()}, grep=grep)


def _follow(logs: dict[str, Path], positions: dict[str, int], *, grep: str) -> Iterator[tuple[str, str]]:
    while True:
        for part, path in logs.items():
            size = path.stat().st_size
            if size < positions[part]:
                # It was rotated.
                positions[part] = 0
            with path.open("rb") as log:
                log.seek(positions[part])
                complete, newline, _ = log.read().rpartition(b"\n")
            positions[part] += len(complete) + len(newline)
            for line in complete.decode(errors="replace").splitlines():
                if matches(line, grep):
                    yield part, line
        time.sleep(FOLLOW_SECONDS)


def docker_command(parts: Sequence[str], *, lines: int, since: str, grep: str, following: bool) -> str:
    """Return the command that shows the same of containers."""
    services = [installation.SERVICES[part] for part in parts]
    options = [f"--tail={lines}", *([f"--since={since}"] if since else []), *(["-f"] if following else [])]
    words = " ".join(["docker-compose", "logs", *options, *services])
    return words + (f" | grep -iE {shlex.quote(grep)}" if grep else "")
