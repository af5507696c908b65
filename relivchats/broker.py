"""kombu's Redis transport, with a worker that survives the death of the broker."""

from __future__ import annotations

from typing import Any

from kombu.transport import redis
from redis.exceptions import ResponseError


class Channel(redis.Channel):
    """A channel that reports a lost connection as such."""

    def _connparams(self, asynchronous: bool = False) -> Any:
        """Return the parameters of a new connection. Raise ConnectionError if the channel is closed.

        When the broker dies, kombu closes the channel, and then wants to restore the messages that the worker has not
        acknowledged. kombu 5.7 raises AttributeError there. Celery takes only errors of connections for a reason to
        connect again: by any other, the worker ends.
        """
        if self.connection.client is None:
            raise ConnectionError("the connection to the broker is closed")
        return super()._connparams(asynchronous=asynchronous)  # type: ignore[no-untyped-call]


class Transport(redis.Transport):
    """The transport of `redis://` and `rediss://` in this project (celery.py)."""

    Channel = Channel
    # A broker that is out of memory or of disk space answers with OOM or MISCONF. Celery takes that for an error of its
    # own, and the worker ends. As an error of the connection, it connects again until the broker has room.
    connection_errors = (*redis.Transport.connection_errors, ResponseError)
