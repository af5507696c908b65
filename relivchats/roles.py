"""What this process is. Set in the environment of web, worker and beat. No Django."""

from __future__ import annotations

import os

#: `web`, `worker` or `beat`.
ROLE_VARIABLE = "RELIVCHATS_PROCESS"
#: The port of the web server.
PORT_VARIABLE = "RELIVCHATS_PORT"


def port() -> int | None:
    """Return the port of this web process, or None if it is not known."""
    text = os.environ.get(PORT_VARIABLE, "")
    return int(text) if text.isdecimal() else None


def current() -> str:
    """Return what this process is: `web`, `worker`, `beat` or `command`."""
    return os.environ.get(ROLE_VARIABLE) or "command"
