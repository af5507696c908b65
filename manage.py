#!/usr/bin/env python
"""Django's command line. It runs the embedded servers while a command needs them."""

import atexit
import os
import shlex
import sys
import threading
import traceback

from relivchats import embedded, installation
from relivchats.supervisor import ProcessError

NEED_NO_DATABASE = {
    "check",
    "collectstatic",
    "compilemessages",
    "diffsettings",
    "findstatic",
    "help",
    "logs",
    "makemessages",
    "parse_export",
    "spectacular",
    "version",
}
#: Commands that look at what runs, or end it. They start nothing, and wait for nothing that is frozen.
OBSERVING = {"database", "health", "workers"}
EXIT_MALFORMED_SETTING = 2
#: The statuses that a shell reports for a program ended by SIGINT and SIGPIPE: 128 and the signal's number.
EXIT_INTERRUPTED, EXIT_CLOSED_PIPE = 130, 141


def main() -> None:
    """Run the command line and end the process. If the reader of the output closes the pipe, be quiet about it."""
    status: str | int | None = 0
    try:
        run()
    except SystemExit as ended:
        status = ended.code
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except BrokenPipeError:
        status = EXIT_CLOSED_PIPE
    except Exception:
        # As Python does, which also would end the interpreter.
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    if not flush() or status == EXIT_CLOSED_PIPE:
        # A reader such as `head` has read enough. At exit Python would try to write the rest of the buffers.
        for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        status = EXIT_CLOSED_PIPE
    if any(thread.daemon for thread in threading.enumerate() if thread is not threading.current_thread()):
        # Such as a health check that is late. If it is inside a library of Rust or C++, the end of the interpreter
        # crashes the process, with "FATAL: exception not rethrown" or a segmentation fault in place of the status. So
        # the interpreter does not end, and what it would do is done here.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        flush()
        os._exit(status or 0)
    sys.exit(status)


def flush() -> bool:
    """Write what the streams buffer. Return False if a reader has closed one of them."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        return False
    return True


def run() -> None:
    """Run the command, with the embedded servers if it needs them."""
    os.environ.update(embedded.sandbox_of_up())
    read_settings()
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
        if sys.argv[1:] in ([], ["help"], ["-h"], ["--help"]):
            print_own_commands()
        if not needs_servers(sys.argv[1:]):
            execute_from_command_line(sys.argv)
            return
        with embedded.running():
            if not os.environ.get("DATABASE_URL") and sys.argv[1] != "migrate":
                make_first_tables()
            status: object = None
            try:
                execute_from_command_line(sys.argv)
            except SystemExit as ended:
                status = ended.code
                raise
            except BrokenPipeError:
                raise
            except Exception:
                from relivchats import error_events

                error_events.add_exception("command failed", code=sys.argv[1])
                raise
            finally:
                record_events()
                name_other_data(failed=bool(status))
    except ProcessError as error:
        sys.exit(embedded.describe(error))
    except OSError as error:
        # A path of the command line, such as that of a file to write. Commands of libraries do not handle it.
        words = {word.rpartition("=")[2] for word in sys.argv[1:]}
        if error.filename is None or os.fspath(error.filename) not in words:
            raise
        print(f"{error.filename} cannot be used: {error.strerror}.", file=sys.stderr)
        sys.exit(os.EX_USAGE)
    except OperationalError as error:
        # A frozen server accepts the connection and does not answer.
        if not str(error).startswith(("connection failed", "connection timeout")):
            raise
        health = installation.as_typed("manage.py health")
        sys.exit(f"Postgres cannot be reached: check DATABASE_URL, and that it runs. {health} names the cause. {error}")


def print_own_commands() -> None:
    """Print the commands of RelivChats with the first sentence of their help, before Django's list of names."""
    import django

    django.setup()
    from django.core.management import get_commands, load_command_class

    from relivchats.error_events import OWN_PACKAGES

    print("Commands of RelivChats, each with --help:\n")
    for name, app in sorted(get_commands().items()):
        if app.partition(".")[0] in OWN_PACKAGES:
            sentence = load_command_class(app, name).help.partition(". ")[0].rstrip(".")
            print(f"  {name:<18} {sentence}")
    print()


def name_other_data(*, failed: bool) -> None:
    """Print a hint if this data is not the data that RelivChats serves, which explains most surprises.

    A command that succeeds on a directory that RELIVCHATS_DATA names is left alone: that was chosen.
    """
    if os.environ.get("DATABASE_URL") or (os.environ.get("RELIVCHATS_DATA") and not failed):
        return
    from relivchats.stack import running_elsewhere

    used = embedded.data_directory()
    if served := running_elsewhere(used):
        print(
            f"This command used the data in {used}, but RelivChats runs on {served}."
            f" For the same data: RELIVCHATS_DATA={shlex.quote(str(served))} ./dev manage ...",
            file=sys.stderr,
        )


def record_events() -> None:
    """Store the warnings and errors that the command logged. Without apps, it had none."""
    from django.apps import apps

    if apps.ready:
        from ops import recorder

        recorder.record_command()


def read_settings() -> None:
    """Read the settings before a server starts for them. If one is malformed, print its sentence and exit 2.

    `health` prints it as a report.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relivchats.settings")
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    try:
        settings.SECRET_KEY  # noqa: B018 - the first access loads all settings
    except ImproperlyConfigured as error:
        if sys.argv[1:2] == ["health"]:
            print_settings_fault(str(error))
        else:
            print(error, file=sys.stderr)
        sys.exit(EXIT_MALFORMED_SETTING)


def print_settings_fault(text: str) -> None:
    """Print the report of `health` if no process can start, because a setting is missing or malformed.

    Its status is that of a critical line.
    """
    from relivchats import installation
    from relivchats.staff.reports import Level, Line, Report

    is_compose = installation.kind() is installation.Kind.COMPOSE
    remedy = "${EDITOR:-vi} .env && docker-compose up -d" if is_compose else "correct it, then manage.py health"
    if embedded.is_keyring_missing():
        remedy = installation.correct_keyring(parts=())
    report = Report("Health", (Line("settings", Level.CRITICAL, text, remedy),))
    print(report.as_json() if "--json" in sys.argv else report.as_text())


def make_first_tables() -> None:
    """Create the tables of a new installation, so that every command works first. `up` migrates older ones.

    One of an earlier version, in which the application owned the tables, is migrated as well: it could not read them.
    """
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege(to_regclass('public.django_migrations'), 'SELECT')")
        is_readable = cursor.fetchone()[0]
    if not is_readable:
        call_command("migrate", verbosity=0)
    connection.close()


def needs_servers(arguments: list[str]) -> bool:
    """Return whether the command with these arguments needs the database and the broker."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if not ours or {"-h", "--help", "--version"} & set(ours):
        return False
    return arguments[0] not in NEED_NO_DATABASE | OBSERVING or "--database" in arguments


if __name__ == "__main__":
    main()
