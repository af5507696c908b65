"""Rehearsals of disks that fill up: small file systems in memory, which take root on Linux."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.rehearsal import Rehearsal, line_of, look, not_fine, run_literally
from tests.stack.terminal import run

MIB = 1024 * 1024
#: A new installation takes 50 MiB of it.
DISK_MIB = 400
FILLER = "a large file"


def _can_mount() -> bool:
    mounted = sys.platform == "linux" and shutil.which("mount") and os.geteuid() == 0
    # Containers may lack the capability.
    return (
        bool(mounted)
        and subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode == 0
    )


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not _can_mount(), reason="mounts a file system, as root on Linux")]


@contextlib.contextmanager
def disk(directory: Path, *, mib: int = DISK_MIB) -> Iterator[Path]:
    """Mount a small file system at a directory for the block."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=711", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(directory: Path, *, percent: int) -> Path:
    """Fill the file system of a directory up to this share with one file, and return the file."""
    filler = directory / FILLER
    filler.unlink(missing_ok=True)
    usage = shutil.disk_usage(directory)
    wanted = usage.total * percent // 100 - usage.used
    # Others write meanwhile, so it may be full a little earlier.
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.tell() < wanted or percent == 100:
            file.write(bytes(min(MIB, max(4096, wanted - file.tell()))))
    return filler


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    with disk(tmp_path_factory.mktemp("disk") / "the data") as directory:
        stack = Rehearsal(directory)
        stack.wait_until_ready()
        stack.log_in()
        stack.expect_fine()
        yield stack
        stack.stop()


@pytest.mark.parametrize(("percent", "level", "status"), [(86, "warning", 1), (95, "critical", 2)])
def test_a_disk_that_fills_up_is_reported_and_the_remedy_lists_what_fills_it(
    stack: Rehearsal, percent: int, level: str, status: int
) -> None:
    filler = fill(stack.directory, percent=percent)
    found, document = stack.wait_for("disk", level, f"{percent} % used")
    assert found == status
    assert not_fine(document) == [line_of(document, "disk")], "everything else works"
    stack.expect_on_overview("disk", f"{percent} % used")
    assert str(filler) in run_literally(line_of(document, "disk")["remedy"])
    filler.unlink()
    stack.expect_fine()


def test_a_full_disk_is_the_root_cause_and_with_room_again_nothing_is_lost(stack: Rehearsal) -> None:
    client, job = stack.unlock()
    stack.expect_delivered(client, job)
    filler = fill(stack.directory, percent=100)
    status, document = stack.wait_for("disk", "critical", "100 % used, 0 MiB free")
    assert status == 2
    assert {line["cause"] for line in not_fine(document)} <= {"", "disk"}
    assert str(filler) in run_literally(line_of(document, "disk")["remedy"])

    stack.stop()
    status, document = stack.look()
    assert (status, line_of(document, "installation")["cause"]) == (2, "disk")
    assert document["headline"].startswith("root cause: disk: ")
    refused = run(stack.directory, "up", "--port", str(stack.port))
    sentence = f"The disk with {stack.directory} is full. Free some space, then start again."
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (1, sentence)
    assert "Traceback" not in refused.stderr
    refused = stack.manage("jobs")
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (1, sentence)
    assert "Traceback" not in refused.stderr

    filler.unlink()
    _, document = stack.look()
    stack.start_again(line_of(document, "installation")["remedy"])
    stack.expect_fine()
    assert client.job(job)["status"] == "completed"


@pytest.mark.parametrize(("percent", "level"), [(86, "warning"), (95, "critical"), (100, "critical")])
def test_a_disk_of_logs_or_of_postgres_alone_is_named(tmp_path: Path, percent: int, level: str) -> None:
    with contextlib.ExitStack() as mounted:
        for name in ("logs", "postgres"):
            directory = mounted.enter_context(disk(tmp_path / "data" / name, mib=20))
            # Nothing runs on it, so `health` reports no more than that, and the disk.
            filler = fill(directory, percent=percent)
            _, document = look(tmp_path / "data")
            line = line_of(document, "disk")
            assert line["level"] == level
            shown = {"logs": "logs", "postgres": "Postgres"}[name]
            assert line["text"].startswith(f"{shown}: {percent} % used")
            assert str(filler) in run_literally(line["remedy"])
            filler.unlink()
