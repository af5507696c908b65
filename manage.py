#!/usr/bin/env python
"""Django's command line, with the embedded servers running for as long as the command needs them."""

import os
import shlex
import sys

from relivchats import embedded
from relivchats.supervisor import ProcessError

NEED_NO_DATABASE = {
    "check",
    "collectstatic",
    "compilemessages",
    "diffsettings",
    "findstatic",
    "help",
    "makemessages",
    "parse_export",
    "spectacular",
    "version",
}
MALFORMED_SETTING = 2
#: As a shell tells of a program that a closed pipe ended: 128 and the number of SIGPIPE.
CLOSED_PIPE = 141


def main() -> None:
    try:
        try:
            run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has had enough, as `head` does. What is left in the buffer must not be written at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CLOSED_PIPE)


def run() -> None:
    os.environ.update(embedded.sandbox_of_up())
    read_settings()
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
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
            finally:
                name_other_data(failed=bool(status))
    except ProcessError as error:
        sys.exit(str(error))
    except OperationalError as error:
        if not str(error).startswith("connection failed"):
            raise
        sys.exit(f"Postgres cannot be reached: check DATABASE_URL, and that it runs. {error}")


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


def read_settings() -> None:
    """Read the settings before a server starts for them. If one is malformed, print its sentence and exit 2."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relivchats.settings")
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    try:
        settings.SECRET_KEY  # noqa: B018 - the first that is asked reads them all
    except ImproperlyConfigured as error:
        print(error, file=sys.stderr)
        sys.exit(MALFORMED_SETTING)


def make_first_tables() -> None:
    """A new installation works from its first command on. An older one is migrated by `up`, or by hand."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    if "django_migrations" not in connection.introspection.table_names():
        call_command("migrate", verbosity=0)
    connection.close()


def needs_servers(arguments: list[str]) -> bool:
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if not ours or {"-h", "--help", "--version"} & set(ours):
        return False
    return arguments[0] not in NEED_NO_DATABASE or "--database" in arguments


if __name__ == "__main__":
    main()
