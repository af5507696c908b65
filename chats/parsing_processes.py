"""Parses large uploads in child processes, with a limit of memory and time for each and of their number for all.

Each upload has a process of its own, forked from a server process (multiprocessing's forkserver) that has imported the
parsers and nothing else: it inherits no connection, no thread and no other upload. Its memory returns to the system
when it ends, and if it crashes or is killed, only its upload fails. The upload and the result pass through a socket.
"""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol, TypeVar

from django.conf import settings
from django.db import connection

from chats import parsing
from chats.exports.unpacking import max_unpacked_bytes
from chats.parsing import ChildLimits, ChildResult, ParsedUpload, ParseReport, ParseRequest
from relivchats import error_events
from relivchats.errors import DomainError, ServiceBusy
from relivchats.logs import request_id

#: An upload that cannot unpack to more is parsed in the thread: that takes less than a child.
SMALL_BYTES = 1024 * 1024
TIMEOUT_SECONDS = 80.0
WAIT_SECONDS = 30.0
RETRY_SECONDS = 10
_EXIT_SECONDS = 5.0

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Work(Protocol[T_co]):
    """A function that can be pickled. It fills in the report, also if it raises."""

    def __call__(self, content: bytes, *, report: ParseReport) -> T_co:
        """Return the result of the work with these bytes."""
        ...


_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["chats.parsing_child"])


class ParsingInterrupted(DomainError):
    """The process that parsed the upload was ended, or took too long because the machine is busy (503)."""

    code, status, title = "ERR_2002", 503, "The file could not be read to its end"


class ParsingFailed(DomainError):
    """An error of ours while parsing, which the child has logged (500). `reason` is its class name."""

    slug = "unexpected"

    def __init__(self, reason: str) -> None:
        super().__init__("We could not read this file. The error is recorded. Please write to us if it happens again.")
        self.reason = reason


@dataclass(frozen=True)
class ParsingPool:
    """The limits of parsing. `slots` counts the children that may run at the same time."""

    slots: threading.BoundedSemaphore
    limits: ChildLimits
    timeout_seconds: float = TIMEOUT_SECONDS
    wait_seconds: float = WAIT_SECONDS

    def parse(self, content: bytes, request: ParseRequest) -> tuple[ParseReport, ParsedUpload | DomainError]:
        """Return the report and what was parsed, or why it was refused. Raise ServiceBusy."""
        return self.run(content, partial(parsing.parse, request=request))

    def run(self, content: bytes, work: Work[T]) -> tuple[ParseReport, T | DomainError]:
        """Do the work with the bytes in a child. Return its report, and its result or why it was refused.

        Raise ServiceBusy.
        """
        report = ParseReport()
        if not self.slots.acquire(timeout=self.wait_seconds):
            raise ServiceBusy(
                "Too many large files are being read at the moment. Please send this one again in a few seconds.",
                retry_after_seconds=RETRY_SECONDS,
            )
        try:
            report.end_stage("wait")
            result = self._run_child(content, work)
        finally:
            self.slots.release()
        if isinstance(result, DomainError):
            return report, result
        result.report.stages |= report.stages
        for event in result.events:
            error_events.queue.add(event)
        if isinstance(result.outcome, str):
            return result.report, ParsingFailed(result.outcome)
        return result.report, result.outcome

    def _run_child(self, content: bytes, work: Work[T]) -> ChildResult | DomainError:
        # Not earlier: it would set up Django while Django loads this module.
        from chats.parsing_child import run

        ours, theirs = _processes.Pipe()
        child = _processes.Process(
            target=run, args=(theirs, work, self.limits, request_id.get()), name="parse-upload", daemon=True
        )
        child.start()
        # Otherwise the pipe would stay open after the child's death.
        theirs.close()
        # A killed child ends any send and any receive with an error.
        timer = threading.Timer(self.timeout_seconds, child.kill)
        timer.start()
        try:
            ours.send_bytes(content)
            result: ChildResult = pickle.loads(ours.recv_bytes())  # noqa: S301 - from our own process
            return result
        except (EOFError, OSError):
            return ParsingInterrupted(
                "Its processing was interrupted, or took too long because the service is busy. Please send it again in"
                " a few seconds, or export the chat for a shorter time.",
                retry_after_seconds=RETRY_SECONDS,
            )
        finally:
            timer.cancel()
            child.join(_EXIT_SECONDS)
            # Does nothing if it has ended.
            child.kill()
            child.join()
            ours.close()


def parse_upload(content: bytes, request: ParseRequest) -> tuple[ParseReport, ParsedUpload | DomainError]:
    """Return the report and what was parsed, or why it was refused: in this thread if the upload is small.

    A large upload uses no database connection while it is parsed.

    Raise ServiceBusy, and what is unexpected.
    """
    if max_unpacked_bytes(content) > SMALL_BYTES:
        return run_in_child(content, partial(parsing.parse, request=request))
    report = ParseReport()
    try:
        return report, parsing.parse(content, request, report)
    except DomainError as error:
        return report, error


def run_in_child(content: bytes, work: Work[T]) -> tuple[ParseReport, T | DomainError]:
    """Do the work with the bytes in a child. Return its report, and its result or why it was refused.

    Raise ServiceBusy.
    """
    # Others use it meanwhile. In a transaction, nobody else could.
    if not connection.in_atomic_block:
        connection.close()
    return _pool().run(content, work)


@cache
def _pool() -> ParsingPool:
    return ParsingPool(
        threading.BoundedSemaphore(settings.PARSING_PROCESSES),
        ChildLimits(settings.PARSING_MEMORY_MB * 1024 * 1024, settings.PARSING_CPU_SECONDS),
    )
