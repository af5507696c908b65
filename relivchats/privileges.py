"""Running a server as `nobody` when we are root, which Postgres refuses to serve. No Django."""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
import sys
from collections.abc import Callable
from pathlib import Path

USER = "nobody"
_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 1 << 2
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


def own(path: Path) -> None:
    """Give a directory to the user that the servers run as."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(USER)
        os.chown(path, account.pw_uid, account.pw_gid)


def becoming(*paths: Path) -> Callable[[], None] | None:
    """What to run between fork and exec so that the process may neither be root nor be kept from these paths.

    Under a directory that only root may enter (a clone in /root, a private temporary directory) the user keeps the one
    power to pass through directories. Copying 70 MB elsewhere, or opening root's directories, would be worse.
    """
    if os.geteuid() != 0:
        return None
    account = pwd.getpwnam(USER)
    barred = not all(reachable(path) for path in paths)
    libc = ctypes.CDLL(None, use_errno=True) if barred and sys.platform == "linux" else None

    def become() -> None:
        if libc:
            # Without this access(2) ignores capabilities, and Postgres does not find its own programs.
            libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        if libc and not any(_keep(libc, power) for power in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE)):
            os.write(2, b"The user nobody cannot enter this directory: set RELIVCHATS_DATA to one it can.\n")
            os._exit(126)

    return become


def reachable(path: Path) -> bool:
    """Whether any user may pass through all the directories above."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)


def _keep(libc: ctypes.CDLL, power: int) -> bool:
    """Drop every capability but one, and let it survive exec."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bits = (ctypes.c_uint32 * 6)(1 << power, 1 << power, 1 << power, 0, 0, 0)
    return not libc.capset(header, bits) and not libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, power, 0, 0)
