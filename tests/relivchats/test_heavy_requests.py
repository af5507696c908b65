"""Large requests wait for their turn on the event loop, a few per client, in turns between clients."""

from __future__ import annotations

import asyncio
import threading
from io import BytesIO

import pytest
from django.test import RequestFactory, override_settings

from relivchats.environment import networks
from relivchats.errors import ServiceBusy
from relivchats.heavy_requests import Client, HeavyRequests, is_heavy
from relivchats.request_bodies import LARGE_BYTES
from tests.processes import PATIENCE_SECONDS


def client(token: str, address: str = "192.0.2.1") -> Client:
    return Client.of({"REMOTE_ADDR": address, "HTTP_AUTHORIZATION": token})


class Works:
    """Functions that record when they run, and end when they are released."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.release = threading.Event()

    def run(self, name: str) -> None:
        self.ran.append(name)
        assert self.release.wait(PATIENCE_SECONDS)


async def until(works: Works, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(works.ran) < count:
            await asyncio.sleep(0.001)


def test_clients_take_turns() -> None:
    heavy, works = HeavyRequests(threads=1), Works()

    async def run() -> None:
        begun = []
        for name in ("first", "greedy 1", "greedy 2", "greedy 3", "modest 1"):
            turn = heavy.run(client(name.split()[0]), lambda name=name: works.run(name))  # type: ignore[misc]
            begun.append(asyncio.ensure_future(turn))
            await asyncio.sleep(0)
        await until(works, 1)
        works.release.set()
        await asyncio.gather(*begun)

    asyncio.run(run())
    assert works.ran == ["first", "greedy 1", "modest 1", "greedy 2", "greedy 3"]


def test_no_more_run_than_there_are_threads_and_too_many_that_wait_are_refused() -> None:
    heavy, works = HeavyRequests(threads=2, max_waiting=1), Works()

    async def run() -> None:
        begun = [asyncio.ensure_future(heavy.run(client(str(n)), lambda: works.run("one"))) for n in range(3)]
        await until(works, 2)
        with pytest.raises(ServiceBusy) as caught:
            await heavy.run(client("late"), lambda: None)
        assert caught.value.extra["retry_after_seconds"] > 0
        assert len(works.ran) == 2
        works.release.set()
        await asyncio.gather(*begun)
        await heavy.run(client("later"), lambda: works.run("last"))

    asyncio.run(run())
    assert works.ran == ["one", "one", "one", "last"]


def test_a_wait_that_takes_too_long_is_refused_and_leaves_its_turn_to_others() -> None:
    heavy, works = HeavyRequests(threads=1, wait_seconds=0.01), Works()

    async def run() -> None:
        first = asyncio.ensure_future(heavy.run(client("first"), lambda: works.run("first")))
        await until(works, 1)
        with pytest.raises(ServiceBusy):
            await heavy.run(client("second"), lambda: works.run("second"))
        works.release.set()
        await first
        await heavy.run(client("third"), lambda: works.run("third"))

    asyncio.run(run())
    assert works.ran == ["first", "third"]


def test_a_token_and_an_address_may_have_a_few_large_requests_at_a_time() -> None:
    heavy = HeavyRequests(threads=1, max_per_token=1, max_per_address=2)
    with heavy.admit(client("one")):
        with pytest.raises(ServiceBusy), heavy.admit(client("one", "192.0.2.7")):
            pass
        with heavy.admit(client("two")):
            # With invented tokens, and without one.
            for token in ("three", ""):
                with pytest.raises(ServiceBusy) as caught, heavy.admit(client(token)):
                    pass
                assert caught.value.extra["retry_after_seconds"] > 0
            with heavy.admit(client("three", "192.0.2.7")):
                pass
    with heavy.admit(client("one")), heavy.admit(client("")):
        pass


def test_the_networks_of_ipv6_and_the_clients_of_a_trusted_proxy_are_distinguished() -> None:
    assert client("", "2001:db8:1:2::3") == client("", "2001:db8:1:2::4") != client("", "2001:db8:1:3::3")
    forwarded = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "198.51.100.7"}
    assert Client.of(forwarded).address == "10.0.0.1"
    with override_settings(TRUSTED_PROXIES=networks("10.0.0.0/8")):
        assert Client.of(forwarded).address == "198.51.100.7"


def test_those_without_a_token_are_counted_by_their_addresses_alone() -> None:
    heavy = HeavyRequests(threads=1, max_per_token=1)
    with (
        heavy.admit(client("", "192.0.2.1")),
        heavy.admit(client("", "192.0.2.2")),
        heavy.admit(client("", "192.0.2.1")),
    ):
        pass


def test_the_token_itself_is_not_kept() -> None:
    assert "secret" not in str(client("Bearer secret"))


def is_heavy_form(body: bytes, *, charset: str = "") -> bool:
    return is_heavy(BytesIO(body), content_type=f"Multipart/form-data; boundary=a{charset}")


def test_large_bodies_and_archives_are_heavy() -> None:
    form = b'--a\r\nContent-Disposition: form-data; name="file"; filename="chat"\r\n\r\n%s\r\n--a--\r\n'
    assert is_heavy_form(form % bytes(LARGE_BYTES))
    for mark in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"):
        assert is_heavy_form(form % mark.ljust(6_000))
    # Django reads lines that end in a line feed alone, and decodes base64.
    assert is_heavy_form(b"--a\nContent-Disposition: form-data\n\nPK\x03\x04".ljust(6_000))
    assert is_heavy_form(b"--a\r\ncontent-TRANSFER-encoding: base64\r\n\r\nUEsDBA==".ljust(6_000))
    assert not is_heavy_form(form % b"PK\x03\x04".ljust(1_000))
    assert not is_heavy_form(form % b"text with PK".ljust(6_000))


@pytest.mark.parametrize(
    ("field", "charset"),
    [
        (b'form-data; name="extend"', ""),
        (b'x; name="extend"', ""),
        (b"x; NAME*=UTF-8''%65xtend", ""),
        (b"x; name*0=ext; name*1=end", ""),
        (b"x; name=+AGUAeAB0AGUAbgBk-", "; Charset=utf-7"),
    ],
)
def test_a_form_that_may_extend_a_chat_is_heavy_however_the_field_is_written(field: bytes, charset: str) -> None:
    body = b"--a\r\nContent-Disposition: %s\r\n\r\n1\r\n--a--\r\n" % field
    request = RequestFactory().post("/", body, content_type=f"multipart/form-data; boundary=a{charset}")
    assert request.POST["extend"] == "1"
    assert is_heavy_form(body, charset=charset)
    assert not is_heavy_form(body.replace(field, b'form-data; name="file"'))
    assert not is_heavy(BytesIO(b'{"text": "extend"}'), content_type="application/json; charset=utf-8")
