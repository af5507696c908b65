"""The command lines of the web server, the worker and beat: `python -m relivchats.serve web|worker|beat`. No Django.

They are defined only here. `./dev up`, the Dockerfile and docker-compose.yml all start the processes through this
module.
"""

from __future__ import annotations

import argparse
import os

from relivchats.launch import become
from relivchats.roles import PORT_VARIABLE, ROLE_VARIABLE

QUEUES = "insights,indexing,upkeep"
#: Threads of a worker besides one for each insight and one for each chat reading that may run at the same time.
OTHER_THREADS = 12
DEFAULT_INSIGHT_THREADS = 8
#: Sets the limits of a process, then becomes the module that follows.
LAUNCHER = "relivchats.launch"
#: granian, which replaces a process that takes too much memory.
WEB_SERVER = "relivchats.web_server"
#: Connections of one web process; granian's default of 1,024 was reached by so many that sent nothing. An idle one is
#: closed after IDLE_SECONDS, also between two requests.
CONNECTIONS = 16_384
IDLE_SECONDS = 20


#: How often the memory of a web process is looked at, and how often in a row it must be too much.
MEMORY_SAMPLE_SECONDS, MEMORY_SAMPLES = 2, 2
#: How long a process that is replaced still takes connections: more than the next one needs to start, on a busy machine
#: as well. Each has a listening socket of its own.
REPLACEMENT_SECONDS = 20
DEFAULT_WEB_MEMORY_MB = 768


def web(*, host: str, port: int, workers: int = 1, kill_timeout_seconds: int = 10) -> list[str]:
    """Return the arguments of `python -m` for the web server. A stop waits `kill_timeout_seconds` for open requests."""
    options = {
        "--interface": "asginl",
        # Until a connection showed its version of HTTP, it would have no timeout. HTTP/2 ends at the proxy.
        "--http": 1,
        "--host": host,
        "--port": port,
        "--workers": workers,
        "--workers-kill-timeout": kill_timeout_seconds,
        "--backlog": CONNECTIONS,
        "--backpressure": CONNECTIONS,
        "--http1-header-read-timeout": IDLE_SECONDS * 1000,
    }
    if limit := _whole("WEB_MEMORY_MB", default=DEFAULT_WEB_MEMORY_MB):
        # Another process starts before the one that takes more stops.
        options |= {
            "--workers-max-rss": limit,
            "--rss-sample-interval": MEMORY_SAMPLE_SECONDS,
            "--rss-samples": MEMORY_SAMPLES,
            "--respawn-interval": REPLACEMENT_SECONDS,
        }
    words = [str(word) for option in options.items() for word in option]
    return [LAUNCHER, WEB_SERVER, *words, "--no-ws", "relivchats.asgi:application"]


def worker() -> list[str]:
    """Return the arguments of `python -m` for a worker. Its tasks wait for the database and for models, so threads."""
    # Insights and readings that wait for a model must leave threads to each other, to indexing and to recovery. Each
    # kind has a limit: readings take minutes, and insights of chats that were read must not wait for them.
    limit = _whole("MAX_CONCURRENT_INSIGHTS", default=DEFAULT_INSIGHT_THREADS)
    threads = 2 * limit + OTHER_THREADS
    return [
        LAUNCHER,
        "celery",
        "-A",
        "relivchats",
        "worker",
        "--pool",
        "threads",
        "--concurrency",
        str(threads),
        "-Q",
        QUEUES,
    ]


def _whole(name: str, *, default: int) -> int:
    """Return a setting. One that is malformed is reported when the process loads the settings."""
    value = os.environ.get(name, "").strip()
    return int(value) if value.isdecimal() else default


def beat(*, schedule: str) -> list[str]:
    """Return the arguments of `python -m` for beat. `schedule` is the path of its state file."""
    # Without a pid file, beat starts again after a kill -9.
    return [LAUNCHER, "celery", "-A", "relivchats", "beat", "--schedule", schedule, "--pidfile="]


def main() -> None:
    """Replace this process with the one that the command line names, so that signals reach it."""
    parser = argparse.ArgumentParser(prog="python -m relivchats.serve", description="Run one process of RelivChats.")
    processes = parser.add_subparsers(dest="process", required=True)
    web_options = processes.add_parser("web", help="the web server")
    web_options.add_argument("--host", default="127.0.0.1")
    web_options.add_argument("--port", type=int, default=8000)
    web_options.add_argument("--workers", type=int, default=2, help="processes, each with 8 threads")
    processes.add_parser("worker", help="a Celery worker for all queues")
    beat_options = processes.add_parser("beat", help="the scheduler; run one of it")
    beat_options.add_argument("--schedule", required=True, help="the path of its state file")
    options = parser.parse_args()
    os.environ[ROLE_VARIABLE] = options.process
    if options.process == "web":
        os.environ[PORT_VARIABLE] = str(options.port)
        words = web(host=options.host, port=options.port, workers=options.workers)
    elif options.process == "worker":
        os.environ.setdefault("CELERY_WORKER", "true")
        words = worker()
    else:
        words = beat(schedule=options.schedule)
    # Only migrations need the owner of the tables.
    os.environ.pop("DATABASE_OWNER_URL", None)
    become(words[1:])


if __name__ == "__main__":
    main()
