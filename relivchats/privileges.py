"""Run a server as the user `nobody` if we are root: Postgres refuses to run as root. No Django."""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
import sys
from collections.abc import Callable
from pathlib import Path

USER = "nobody"
# From linux/prctl.h, linux/securebits.h and linux/capability.h.
_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 1 << 2
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


def give_to_server_user(path: Path) -> None:
    """Make the user that the servers run as the owner of a directory."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(USER)
        os.chown(path, account.pw_uid, account.pw_gid)


def drop_root(*paths: Path) -> Callable[[], None] | None:
    """Return a function to run between fork and exec that becomes `nobody`, or None if we are not root.

    The process can still reach `paths`. If they are below a directory that only root may enter (a clone in /root, a
    private temporary directory), it keeps one capability, to pass through directories. The alternatives are worse:
    copying 70 MB elsewhere, or opening root's directories.
    """
    if os.geteuid() != 0:
        return None
    account = pwd.getpwnam(USER)
    blocked = not all(is_reachable(path) for path in paths)
    libc = ctypes.CDLL(None, use_errno=True) if blocked and sys.platform == "linux" else None

    def become_nobody() -> None:
        if libc:
            # Otherwise access(2) ignores capabilities, and Postgres does not find its own programs.
            libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        # Some containers allow only one of the two.
        if libc and not any(_keep_capability(libc, number) for number in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE)):
            os.write(2, b"The user nobody cannot enter this directory: set RELIVCHATS_DATA to one it can.\n")
            os._exit(126)

    return become_nobody


def is_reachable(path: Path) -> bool:
    """Return whether every user may pass through all directories above the path."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)


def _keep_capability(libc: ctypes.CDLL, number: int) -> bool:
    """Drop all capabilities but one, and keep that one across exec. Return whether it worked."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bits = (ctypes.c_uint32 * 6)(1 << number, 1 << number, 1 << number, 0, 0, 0)
    return not libc.capset(header, bits) and not libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0)
