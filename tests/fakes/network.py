"""The network of a project of containers: only its loopback interface. One port of it is published on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys

import psutil

from tests.fakes.containers import OWNER

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
#: Of the web server in its container.
_PORT = 8000


def leave(libc: ctypes.CDLL) -> None:
    """Enter a new network, in which only this process is, and start its loopback interface. Raise OSError."""
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))


async def publish(listening: socket.socket) -> None:
    """Pass connections of this machine on, while the test run lasts."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", _PORT)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    server = await asyncio.start_server(connect, sock=listening)
    print("ready", flush=True)
    # Nobody reads it any more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    async with server:
        while psutil.pid_exists(int(os.environ.get(OWNER, "1"))):
            await asyncio.sleep(1)


if __name__ == "__main__":
    # Opened before, so it stays in the network of this machine.
    published = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    leave(ctypes.CDLL(None, use_errno=True))
    asyncio.run(publish(published))
