"""What a child process of parsing_processes.py runs. The process that forks the children imports this before.

It sets up Django, so import it only where Django is set up, or in a new process.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import django
from django.apps import apps

if not apps.ready:
    django.setup()

# After Django is set up.
from chats import merge_plan  # noqa: F401 (imported once, for all children)
from chats.exports.errors import TooCostly
from chats.parsing import ChildLimits, ChildResult, ParseReport
from relivchats import error_events
from relivchats.errors import DomainError
from relivchats.logs import request_id
from relivchats.supervisor import die_with_parent

logger = logging.getLogger(__name__)

#: Requests of other clients come first. A core that another process uses all the time still leaves a tenth to a child:
#: an upload of 24 MB needs about 4 s of processor time, which then take half of parsing_processes.TIMEOUT_SECONDS.
NICENESS = 10
_CPU_GRACE_SECONDS = 5


class _CpuLimitReached(BaseException):
    """Raised by the signal handler. Code that catches Exception must not continue."""


def run(
    connection: Connection,
    work: Callable[..., object],
    limits: ChildLimits,
    current_request_id: str,
) -> None:
    """Receive bytes, do the work with them, and send the pickled ChildResult."""
    die_with_parent()
    os.nice(NICENESS)
    # Objects that the collector never visits stay in memory that all children share.
    gc.freeze()
    request_id.set(current_request_id)
    # Without those of the process that forked this one.
    error_events.queue.take()
    report = ParseReport()
    outcome: object
    # All of it before the limits: a child that ends while the server still sends would look interrupted.
    content = connection.recv_bytes()
    try:
        _limit(limits)
        outcome = work(content, report=report)
    except (_CpuLimitReached, MemoryError):
        outcome = TooCostly()
    except DomainError as error:
        # Its traceback refers to the text.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        outcome = error
    except Exception as error:
        # Here, because a traceback cannot be sent. The log leaves out the message, which may quote the text.
        logger.exception("parsing failed")
        outcome = type(error).__name__
    # The result is small, and sending it must not fail.
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    events, _ = error_events.queue.take()
    connection.send_bytes(pickle.dumps(ChildResult(report, outcome, events), pickle.HIGHEST_PROTOCOL))
    connection.close()


def _limit(limits: ChildLimits) -> None:
    def stop(*_: object) -> None:
        raise _CpuLimitReached

    # The kernel sends this signal at the soft limit. A call of C code that does not end is killed at the hard one.
    signal.signal(signal.SIGXCPU, stop)
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + _CPU_GRACE_SECONDS))
    # The text in memory is never written to a core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # What is allocated beyond raises MemoryError. The sixth figure counts the pages of data and stack.
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        soft = pages * resource.getpagesize() + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (soft, resource.RLIM_INFINITY))
