"""Run a module with the limits of a server process: `python -m relivchats.launch MODULE ARGUMENTS`. No Django."""

from __future__ import annotations

import os
import resource
import sys
from typing import NoReturn

#: A connection takes a file. Systems often start processes with a limit of 1,024, and allow more.
OPEN_FILES = 65_536
#: glibc keeps what was freed, in eight arenas per core, and after a large block was freed also large ones. With these
#: values, blocks from 1 MB on return to the system, and 16 MB of the others are kept.
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 1024 * 1024),
}


def become(words: list[str]) -> NoReturn:
    """Set the limits, and replace this process with `python -m` of these words, so that signals reach it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    # Texts and keys are in memory, so a crash must not write it to a file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, value in ALLOCATOR.items():
        os.environ.setdefault(name, value)
    os.execv(sys.executable, [sys.executable, "-m", *words])  # noqa: S606 - no shell, and words of serve.py


if __name__ == "__main__":
    become(sys.argv[1:])
