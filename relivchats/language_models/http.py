"""HTTP for the clients of language models: a deadline over a whole call, and errors that contain no text.

A timeout of httpx2 applies to each operation on a socket, so a server that sends one byte a second is never cut off.
Here every operation gets the time that remains of the call: waiting for a connection, connecting, the TLS handshake,
writing and reading. When it is used up the socket is closed. Only the name lookup has limits of its own, those of the
system's resolver.

This module imports httpx2, so only the methods that call a provider import it.
"""

from __future__ import annotations

import email.utils
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpcore2
import httpx2
import orjson

from relivchats.language_models.errors import (
    EngineError,
    EngineMisconfigured,
    EngineRateLimited,
    EngineRefused,
    EngineUnavailable,
)

#: An answer of 65,000 tokens has less than half a megabyte.
MAX_RESPONSE_BYTES = 8 * 1024 * 1024

#: Seconds to wait for one address of a host. A host that does not answer by then does not answer.
CONNECT_SECONDS = 10.0

#: Idle connections are kept this long. Shorter than what providers keep, so that none is closed while a request starts.
KEEP_IDLE_SECONDS = 20.0

#: When a provider rejects a call and does not say when to call again; and the longest wait that is believed.
RETRY_AFTER_SECONDS = 30.0
MAX_RETRY_AFTER_SECONDS = 86_400.0


@dataclass(slots=True)
class _Call:
    """What remains of the call that this thread makes."""

    ends_at: float
    bytes_left: int = MAX_RESPONSE_BYTES

    def seconds_left(self) -> float:
        return self.ends_at - time.monotonic()


_call: ContextVar[_Call] = ContextVar("_call")


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit all requests of this thread within the block. A request that takes longer raises httpx2.TimeoutException.

    Clients of `make_client` send requests only within this block.
    """
    token = _call.set(_Call(time.monotonic() + seconds))
    try:
        yield
    finally:
        _call.reset(token)


def make_client(*, connections: int = 400, ssl_context: ssl.SSLContext | None = None) -> httpx2.Client:
    """Return a client for all threads of a process. It follows no redirect and reads nothing from the environment.

    `connections` limits the open connections; a call that finds none waits until its deadline.
    """
    return httpx2.Client(
        transport=_Transport(
            verify=ssl_context or make_ssl_context(),
            limits=httpx2.Limits(
                max_connections=connections,
                max_keepalive_connections=connections,
                keepalive_expiry=KEEP_IDLE_SECONDS,
            ),
        ),
        # A small compressed body can become gigabytes.
        headers={"Accept-Encoding": "identity"},
        event_hooks={"response": [_reject_compressed]},
        follow_redirects=False,
        trust_env=False,
        timeout=None,
    )


def make_ssl_context() -> ssl.SSLContext:
    """Return a context that trusts the system's certificates, whatever SSL_CERT_FILE and SSL_CERT_DIR say."""
    return httpx2.create_ssl_context(trust_env=False)


def parse_object(body: bytes | str) -> dict[str, Any]:
    """Return a response's JSON object. Raise EngineUnavailable: such a body, often HTML, is not the provider's."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Not chained: the error contains the body.
        raise EngineUnavailable("malformed_response") from None
    if not isinstance(parsed, dict):
        raise EngineUnavailable("malformed_response")
    return parsed


def transport_error(error: Exception) -> EngineError:
    """Return the engine's error for one of httpx2, without its text."""
    if isinstance(error, httpx2.TimeoutException):
        return EngineUnavailable("timeout")
    if isinstance(error, httpx2.ConnectError):
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLError):
                return EngineUnavailable("tls_failed")
            cause = cause.__cause__ or cause.__context__
        return EngineUnavailable("connection_refused")
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return EngineMisconfigured("invalid_base_url")
    return EngineUnavailable("connection_lost")


def status_error(status: int) -> EngineError:
    """Return the engine's error for a status other than 200, as far as it says the same for every provider."""
    if status in (401, 403):
        return EngineMisconfigured("invalid_key")
    if status == 404:
        return EngineMisconfigured("unknown_model")
    if 300 <= status < 400:
        # Following it would send the key and the chat to a host that nobody configured.
        return EngineMisconfigured("redirected")
    if status == 429:
        return EngineRateLimited(retry_after_seconds=RETRY_AFTER_SECONDS)
    if status == 413:
        return EngineRefused("request_too_large")
    if 400 <= status < 500 and status != 408:
        return EngineRefused("request_rejected")
    return EngineUnavailable("provider_error")


def rate_limited(
    *, retry_after_seconds: float | None, exhausted: bool = False, spending: bool = False
) -> EngineRateLimited:
    """Return the error of a rejected call, with a delay between one second and a day.

    Without a delay, it is 0 for a used-up quota or credit: the circuit breaker (quota.py) knows when to try.
    """
    if retry_after_seconds is None:
        seconds = 0.0 if exhausted or spending else RETRY_AFTER_SECONDS
    else:
        seconds = min(max(retry_after_seconds, 1.0), MAX_RETRY_AFTER_SECONDS)
    return EngineRateLimited(retry_after_seconds=seconds, exhausted=exhausted, spending=spending)


def retry_after_header(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or as a date (RFC 9110), or None."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
        return max(at.timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError, TypeError):
        return None


def model_name(value: Any, *, requested: str) -> str:
    """Return the model that a response names, or the requested one if it names none in a usual form.

    Servers answer with anything here, such as the path of a file, and the name is logged and shown.
    """
    if (
        isinstance(value, str)
        and re.fullmatch(r"[\w.:@-]{1,64}(/[\w.:@-]{1,64}){0,3}", value, re.ASCII)
        and len(value) <= 64
    ):
        return value.removeprefix("models/")
    return requested


def token_count(value: Any) -> int:
    """Return a count of tokens, or 0 if the provider did not give one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else 0


def _reject_compressed(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise httpx2.DecodingError("compressed", request=response.request)


class _Transport(httpx2.HTTPTransport):
    def __init__(self, *, verify: ssl.SSLContext, limits: httpx2.Limits) -> None:
        super().__init__(verify=verify, trust_env=False, limits=limits, retries=0)
        # The only parameter of the pool that HTTPTransport does not pass on.
        self._pool = httpcore2.ConnectionPool(
            ssl_context=verify,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            retries=0,
            network_backend=_Network(),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        seconds = max(_call.get().seconds_left(), 0.0)
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
        return super().handle_request(request)


class _Network(httpcore2.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        # socket.create_connection gives the whole timeout to each address of the host.
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore2.ConnectError from error
        failure: Exception = httpcore2.ConnectError()
        for *_, address in found:
            seconds = _seconds_left(httpcore2.ConnectTimeout)
            try:
                stream = super().connect_tcp(
                    str(address[0]),
                    port,
                    timeout=min(CONNECT_SECONDS, seconds),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream)
        raise failure


class _Stream(httpcore2.NetworkStream):
    """A connection whose operations end with the call that uses it."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, timeout=_seconds_left(httpcore2.ReadTimeout))
        call = _call.get()
        call.bytes_left -= len(data)
        if call.bytes_left < 0:
            raise httpcore2.RemoteProtocolError("too large")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        connection: socket.socket = self._stream.get_extra_info("socket")
        view = memoryview(buffer)
        try:
            while view:
                connection.settimeout(_seconds_left(httpcore2.WriteTimeout))
                view = view[connection.send(view) :]
        except TimeoutError as error:
            raise httpcore2.WriteTimeout from error
        except OSError as error:
            raise httpcore2.WriteError from error

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        # The timeout of a handshake covers all of it.
        seconds = _seconds_left(httpcore2.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout=seconds))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _seconds_left(error: type[Exception]) -> float:
    """Return the seconds that remain of the call. Raise the error if there are none."""
    seconds = _call.get().seconds_left()
    if seconds <= 0:
        raise error
    return seconds
