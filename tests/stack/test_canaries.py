"""From upload to insight on running processes: nothing private is found anywhere but in sealed columns."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from billing import ledger
from chats.models import Chat
from insights.models import GenerationJob, Insight, InsightType
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from tests.canary import assert_nowhere, unique
from tests.conftest import StartCelery
from tests.fakes.provider import serving
from tests.fakes.qdrant import FakeQdrant
from tests.fakes.stripe import FakeStripe
from tests.processes import eventually, serving_web

pytestmark = pytest.mark.django_db(transaction=True)

WORD, NAME, OTHER = unique("tamarind"), unique("Asha"), unique("Rohan")
TITLE, FILE_NAME, PASSWORD = unique("honeymoon"), unique("our_secret"), unique("swordfish")
#: Addresses that operators and their programs read.
MONITORING = ("/health", "/health/live", "/health/ready", "/health/db-pool", "/metrics")
#: Commands that only report.
REPORTS = ("health", "jobs", "insights", "queue", "payments")


def export() -> bytes:
    """Return a chat in which every message can be quoted and contains the word."""
    said = [
        f"I love you so much {WORD} ❤️",
        f"thank you for being there, miss you {WORD}",
        f"sorry jaan, maaf karo {WORD} please",
        f"let's plan our future home next year {WORD} 😂",
    ]
    lines = []
    for number in range(240):
        at = f"{1 + number // 24:02}/03/2024, {number % 24:02}:{number % 60:02}"
        lines.append(f"{at} - {(NAME, OTHER)[number % 2]}: {said[number % 4]}")
    return "\n".join(lines).encode()


def send_what_is_refused(client: httpx.Client) -> None:
    """Send private text in a file, a body, an address, a header, a cookie and the form of a login."""
    answers = [
        client.post("/api/chats/upload", files={"file": (f"{FILE_NAME}.txt", f"{WORD} by {NAME}")}),
        client.post("/api/insights/unlock", json={"chat_id": WORD, "category_id": NAME}),
        client.post("/api/insights/unlock", content=f'{{"chat_id": "{WORD}"'),
        client.get(f"/api/chats/{WORD}?q={NAME}", headers={"X-Note": WORD, "Cookie": f"a={quote(WORD)}"}),
        client.post("/admin/login/", data={"username": f"{NAME}@example.org", "password": PASSWORD}),
    ]
    assert all(400 <= answer.status_code < 500 for answer in answers), answers


def _files_of_keys() -> set[str]:
    """Return the names of the files in the key store, which is below the directory that is searched."""
    return {path.name for path in Path(settings.KEY_STORE_DIR).glob("??/*")}


def test_a_running_stack_leaves_nothing_private_outside_sealed_columns(
    worker: StartCelery, beat: StartCelery, tmp_path: Path
) -> None:
    person = User.objects.create_user("somebody@example.org")
    ledger.adjust(wallet=person.wallet, amount=400, actor="test", reason="test", idempotency_key="coins")
    token = tokens.issue(person)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    created_at = temporary.stat().st_mtime_ns
    also: dict[str, bytes | str | Path] = {}
    with serving(FakeStripe()) as stripe, FakeQdrant().serving() as qdrant:
        shared = {"LOG_LEVEL": "DEBUG", "TMPDIR": str(temporary), **qdrant.settings()}
        payments = {
            name: value if isinstance(value, str) else ",".join(value) for name, value in stripe.settings().items()
        }
        worker(**shared)
        beat(**shared)
        # DEBUG logs more, such as the SQL of each query, and shows more of an error.
        with serving_web(
            tmp_path, database=connection.settings_dict["NAME"], DEBUG="true", **shared, **payments
        ) as port:
            client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
            client.headers["Authorization"] = f"Bearer {token}"
            uploaded = client.post("/api/chats/upload", files={"file": (f"{FILE_NAME}.txt", export())})
            assert uploaded.status_code == 201, uploaded.content
            chat_id = uploaded.json()["id"]
            assert client.patch(f"/api/chats/{chat_id}", json={"title": TITLE}).status_code == 200
            unlocked = client.post("/api/insights/unlock", json={"chat_id": chat_id, "category_id": "romantic"})
            assert unlocked.status_code == 202, unlocked.content
            ordered = client.post("/api/payments/orders", json={"package_id": "starter", "provider": "stripe"})
            assert ordered.status_code == 201, ordered.content
            send_what_is_refused(client)
            job = unlocked.json()["job_id"]
            eventually(lambda: not GenerationJob.objects.open().filter(pk=job).exists())
            written = client.get(f"/api/insights/chats/{chat_id}").text
            assert (WORD in written, NAME in written) == (True, True), "the owner reads the quotes"
            assert TITLE in client.get(f"/api/chats/{chat_id}").text
            also |= {address: client.get(address).content for address in MONITORING}
            processes = psutil.Process().children(recursive=True)
            also |= {f"command line of {process.pid}": " ".join(process.cmdline()) for process in processes}
    with suppress(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT %s::text::integer", [WORD])
    for command in REPORTS:
        output = io.StringIO()
        with suppress(SystemExit):
            call_command(command, "--json", stdout=output, stderr=output)
        assert output.getvalue(), command
        also[f"output of {command}"] = output.getvalue()
    assert (
        Insight.objects.filter(job=job, status="completed").count()
        == InsightType.objects.filter(category="romantic").count()
    )
    assert (Chat.objects.get(pk=chat_id).vector_status, chat_id in _files_of_keys()) == ("completed", True)
    assert stripe.values, "a payment provider was asked"
    assert any("points" in request for request in qdrant.requests), "vectors were stored in Qdrant"
    also |= {"requests to Stripe": str((stripe.requests, stripe.values, stripe.headers))}
    also |= {"requests to Qdrant": str((qdrant.requests, qdrant.bodies, qdrant.headers))}
    # A file would have changed the directory, also if it was deleted at once.
    assert temporary.stat().st_mtime_ns == created_at, "no process wrote a temporary file"
    also["the directory of the test"] = tmp_path
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "insight delivered" in logs
    assert_nowhere(WORD, NAME, OTHER, TITLE, FILE_NAME, PASSWORD, token, also=also)
