#!/usr/bin/env python
"""Django's command line, with the embedded servers running for as long as the command needs them."""

import contextlib
import os
import sys

from relivchats import embedded
from relivchats.processes import ProcessError

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


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relivchats.settings")
    from django.core.management import execute_from_command_line

    try:
        with embedded.running() if needs_servers(sys.argv[1:]) else contextlib.nullcontext():
            execute_from_command_line(sys.argv)
    except ProcessError as error:
        sys.exit(str(error))


def needs_servers(arguments: list[str]) -> bool:
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if not ours or {"-h", "--help", "--version"} & set(ours):
        return False
    return arguments[0] not in NEED_NO_DATABASE or "--database" in arguments


if __name__ == "__main__":
    main()
