"""docs/runbook.md answers: each of its commands runs on a database with data, and its pages and addresses open."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from django.contrib.auth.models import Group
from django.core.management import CommandError, get_commands, load_command_class
from django.db import connection, transaction
from django.test import Client

from billing.models import PaymentOrder, Wallet
from chats import data_keys
from chats.key_models import KeyStoreIdentity
from chats.models import Chat, ChatUpload
from insights import pauses
from ops import staff_groups
from ops.checks.servers import FAULT_TEXTS
from ops.models import Heartbeat
from ops.monitoring_models import RequestTotal
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from relivchats.celery import app
from relivchats.crypto import Keyring, keyring, new_data_key
from relivchats.staff.bulk_actions import ActionContext
from tests.admin import everything
from tests.concurrency import BackgroundCall
from tests.conftest import StartCelery
from tests.ops import rows
from tests.ops.test_commands import call
from tests.processes import PATIENCE_SECONDS, REPOSITORY, BrokerHandle, database_url, eventually

RUNBOOK = (REPOSITORY / "docs" / "runbook.md").read_text()
#: Everything in backticks; a table escapes the bar.
SPANS = sorted({span.replace("\\|", "|") for span in re.findall(r"`([^`]+)`", RUNBOOK)})


def spans(*starts: str) -> list[str]:
    return [span for span in SPANS if span.startswith(starts)]


MANAGE = [span.removeprefix("manage.py ") for span in spans("manage.py ")]
PAGES = spans("/admin/")
CURL = spans("curl ")

#: Commands that run until Ctrl-C, ask questions, replace a process of `./dev up`, or need Qdrant. Here only their words
#: are parsed; tests/stack runs the restarts, and tests/chats those with Qdrant.
ONLY_PARSED = (
    "--follow",
    "workers --restart",
    "workers --stop",
    "changepassword",
    "help",
    "migrate",
    "--qdrant",
    "--run",
)
#: Those that work with sessions, programs or threads of their own, so that the data must be committed.
COMMITTED = ("health", "backup", "restore", "database --cancel", "database --kill", "database --close-idle")
#: What commands exit with on the data of these tests, which has one problem of each kind. All others exit with 0.
STATUSES = {
    "database --retention": 1,
    "erase EMAIL": 1,
    "insights --failed": 1,
    "jobs": 1,
    "jobs --stuck": 1,
    "keys": 1,
    "ledger": 2,
    "ledger --json": 2,
    "ledger --repair WALLET": 1,
    "payments": 1,
    # No provider is configured, so the order is refused.
    "payments --reconcile ORDER": 1,
    "payments --refund ORDER --reason TEXT": 1,
    "reindex --status": 1,
    "staff_groups": 1,
    # The ledger of these rows is broken: coins that nobody paid for.
    "health": 2,
    "health --json": 2,
    "health --verbose": 2,
    "restore --check DUMP": 2,
}


def test_all_sixty_five_items_have_an_answer() -> None:
    answers = re.findall(r"^\| (\d+) \| ([^|]+) \| (.+) \| [^|]*\|$", RUNBOOK, re.MULTILINE)
    assert [int(number) for number, _, _ in answers] == list(range(1, 66))
    assert [number for number, _, answer in answers if "`" not in answer] == []


#: The name of a session of these tests.
SOURCE = "relivchats test"


class Values:
    """What stands for the words in capitals."""

    def __init__(self, directory: Path) -> None:
        customer = Chat.objects.order_by("pk")[0].owner
        order = PaymentOrder.objects.order_by("pk")[0]
        self.words: dict[str, str] = {
            "EMAIL": str(customer.email),
            "CHAT": str(Chat.objects.filter(owner=customer)[0].pk),
            "ORDER": str(order.pk),
            "WALLET": str(Wallet.objects.get(user=customer).pk),
            "TEXT": "'a reason'",
            "FILE": str(directory / "bundle.zip"),
            "DIRECTORY": str(directory / "dumps"),
            "OTHER": str(directory / "keys"),
            "NAME": "beat@host:41",
            "ENTRY": "canary",
            "SOURCE": shlex.quote(SOURCE),
            "REQUEST": "request-17",
        }

    def fill(self, command: str) -> list[str]:
        for word, value in self.words.items():
            command = re.sub(rf"\b{word}\b", value, command)
        return shlex.split(command)


def status_of(words: list[str]) -> int:
    try:
        return call(*words)[0]
    except CommandError as error:
        pytest.fail(f"{' '.join(words)}: {error}")


def is_one_of(command: str, kinds: tuple[str, ...]) -> bool:
    return any(f" {kind}" in f" {command}" for kind in kinds)


@pytest.fixture
def values(tmp_path: Path, broker: BrokerHandle, settings: Any) -> Values:
    # A store of its own: that of the session has the files of other tests.
    settings.KEY_STORE_DIR = str(tmp_path / "store")
    KeyStoreIdentity.objects.all().delete()
    data_keys.open_store(create=True)
    everything.one_of_each(1)
    rows.everything_alive()
    # Its rows have fewer buckets than those of a process.
    RequestTotal.objects.all().delete()
    return Values(tmp_path)


@pytest.mark.parametrize("command", MANAGE)
def test_a_command_of_the_runbook_is_accepted(command: str) -> None:
    name, *words = shlex.split(re.sub(r"\bPID\b", "1", command).replace("REQUEST", "request-17"))
    if name in ("help", "changepassword", "showmigrations"):
        return
    filled = [re.sub(r"^(CHAT|ORDER)$", "3f9a6dbe-8b7f-4f7e-9f1b-0c8f5c1f6d11", word) for word in words]
    filled = [re.sub(r"^WALLET$", "1", word) for word in filled]
    load_command_class(get_commands()[name], name).create_parser("manage.py", name).parse_args(filled)


def expected(commands: list[str]) -> dict[str, int]:
    return {command: STATUSES.get(command, 0) for command in commands}


@pytest.mark.django_db
def test_each_command_of_the_runbook_runs_on_a_database_with_data(values: Values) -> None:
    commands = [each for each in MANAGE if not is_one_of(each, (*ONLY_PARSED, *COMMITTED))]
    statuses = {}
    for command in commands:
        # Each starts with the same data.
        with transaction.atomic():
            if "--resume" in command:
                pause = (
                    ("queue", "--pause", "insights", "--reason", "a")
                    if "queue" in command
                    else ("unlocks", "--pause", "a")
                )
                call(*pause)
            statuses[command] = status_of(values.fill(command))
            transaction.set_rollback(True)
    assert len(statuses) > 50
    assert statuses == expected(commands)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("patient")
def test_each_command_of_the_runbook_that_needs_committed_data_runs(values: Values) -> None:
    commands = [each for each in MANAGE if is_one_of(each, COMMITTED) and not is_one_of(each, ONLY_PARSED)]
    statuses = {}
    for command in commands:
        with psycopg.connect(database_url(connection.settings_dict["NAME"]), application_name=SOURCE) as session:
            words = values.fill(command)
            if "PID" in words:
                sleeping = BackgroundCall(functools.partial(_sleep, session))
                eventually(lambda: "pg_sleep" in call("database")[1])
                words = [word.replace("PID", str(session.info.backend_pid)) for word in words]
            if "DUMP" in words:
                (dump, *_) = Path(values.words["DIRECTORY"]).iterdir()
                words = [word.replace("DUMP", str(dump)) for word in words]
            statuses[command] = status_of(words)
            if "PID" in command:
                assert isinstance(sleeping.result(), psycopg.Error)
    assert statuses == expected(commands)


def _sleep(session: psycopg.Connection) -> None:
    session.execute("SELECT pg_sleep(60)")


@pytest.fixture
def operator(db: None) -> Client:
    """A member of staff with nothing but the group operator."""
    staff_groups.report(context=ActionContext(reason="test"))
    member = User.objects.create_user("operator@example.org", is_staff=True)
    member.groups.add(Group.objects.get(name="operator"))
    client = Client()
    client.force_login(member)
    return client


@pytest.mark.django_db
@pytest.mark.usefixtures("patient", "values")
def test_each_page_of_the_runbook_opens_for_an_operator(operator: Client) -> None:
    statuses = {page: operator.get(page, secure=True).status_code for page in PAGES}
    assert len(statuses) > 30
    assert statuses == dict.fromkeys(PAGES, 200)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("patient")
def test_each_address_of_the_runbook_answers(values: Values) -> None:
    staff = User.objects.create_user("operator@example.org", is_staff=True)
    owner = User.objects.get(email=values.words["EMAIL"])
    statuses = {}
    for command in [*CURL, *(f"curl http://localhost:8000{path}" for path in spans("/health", "/metrics"))]:
        words = values.fill(command)
        path = next(word for word in words if word.startswith("http")).removeprefix("http://localhost:8000")
        headers = {"Authorization": f"Bearer {tokens.issue(owner if path.startswith('/api/') else staff)}"}
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        statuses[re.sub(values.words["CHAT"], "CHAT", path)] = (
            Client().generic(method, path, headers=headers, secure=True).status_code
        )
    assert statuses == {
        # Critical, because the ledger of these rows is broken.
        "/health": 503,
        "/health/live": 200,
        "/health/ready": 200,
        "/health/db-pool": 200,
        "/metrics": 200,
        "/api/chats/CHAT/reindex": 202,
    }


COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
_SERVICES = set(COMPOSE["services"])
_CONTAINERS = {service.get("container_name") for service in COMPOSE["services"].values()}


@pytest.mark.parametrize("command", spans("docker-compose ", "docker "))
def test_a_command_of_docker_names_services_that_exist(command: str) -> None:
    program, verb, *words = shlex.split(command)
    named = [word for word in words if not word.startswith("-")]
    if verb in {"exec", "run"}:
        assert named[0] in (_SERVICES if program == "docker-compose" else _CONTAINERS)
    elif program == "docker-compose":
        assert verb in {"ps", "restart", "logs", "up", "down"}
        assert set(named) <= _SERVICES
    else:
        # They are Docker's own, and about all containers of the machine.
        assert [verb, *named] in (["stats"], ["system", "df"], ["container", "prune"], ["image", "prune"])


def test_a_running_worker_answers_each_inspection_of_the_runbook(worker: StartCelery) -> None:
    worker()
    commands = spans("celery ")
    assert len(commands) == 4
    for command in commands:
        *start, what = shlex.split(command)
        assert start == ["celery", "-A", "relivchats", "inspect"]
        # With a limit, it does not wait for answers of other workers.
        assert getattr(app.control.inspect(limit=1, timeout=PATIENCE_SECONDS), what)(), what


#: What the runbook quotes in the first column of "By symptom".
_QUOTED = re.findall(
    r"^\| (.+?) \| ", RUNBOOK.partition("## By symptom")[2].partition("## When to escalate")[0], re.MULTILINE
)
_OUTPUT = sorted(
    span for cell in _QUOTED for span in re.findall(r"`([^`]+)`", cell) if not span.startswith("manage.py ")
)


@pytest.fixture(scope="module")
def printed() -> str:
    """Every text in the program, one a line."""
    found = [f"upload {outcome}" for outcome in ChatUpload.Outcome]
    found += [f"Postgres {text}" for text in FAULT_TEXTS.values()]
    for package in ("billing", "chats", "insights", "ops", "relivchats"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            found += [
                node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
    return "\n".join(found)


@pytest.mark.parametrize("quoted", _OUTPUT)
def test_the_runbook_quotes_what_the_program_prints(quoted: str, printed: str) -> None:
    # An f-string has its numbers and names elsewhere.
    for part in re.split(r"[;:]|\d+|  ", quoted):
        assert part.strip() in printed


def _pause_insights() -> None:
    pauses.pause_dispatch(context=ActionContext(reason="test"))


def _pause_unlocks() -> None:
    pauses.pause(context=ActionContext(reason="test"))


def _change_a_wallet_by_sql() -> None:
    Wallet.objects.filter(pk=rows.person().wallet.pk).update(balance=7)


def _fail_a_chat() -> None:
    rows.chat(rows.person(), vector_status="failed")


def _refuse_an_upload() -> None:
    ChatUpload.objects.create(owner=rows.person(), outcome="refused", size_bytes=10, milliseconds=5)


def _deactivate_a_person() -> None:
    User.objects.filter(pk=rows.person(email="ann@example.org").pk).update(is_active=False)


def _lose_a_key() -> None:
    chat = rows.chat(rows.person())
    Chat.objects.filter(pk=chat.pk).update(wrapped_key=Keyring({"lost": b"a" * 32}).wrap(new_data_key(), context="a"))


def _start_with_another_key() -> None:
    rows.chat(rows.person())
    rows.heartbeat("web")
    Heartbeat.objects.update(key_ids=["k2 3f9a6dbe8b7f4f7e"])


def _change_a_key() -> None:
    chat = rows.chat(rows.person())
    wrapped = Keyring({keyring().current: b"a" * 32}).wrap(new_data_key(), context=chat.context("key"))
    Chat.objects.filter(pk=chat.pk).update(wrapped_key=wrapped)


@pytest.mark.django_db
@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize(
    ("section", "cause", "command", "phrase", "remedy"),
    [
        (2, rows.overdue_job, "jobs --stuck", "past its deadline", "jobs --recover"),
        (2, _pause_insights, "queue", "insights are paused for", "queue --resume insights --reason TEXT"),
        (3, rows.failed_job, "insights --failed", "engine_unavailable", "insights --failed --retry --reason TEXT"),
        (4, _pause_unlocks, "unlocks", "paused for", "unlocks --resume --reason TEXT"),
        (4, _pause_insights, "unlocks", "insights are paused for", "queue --resume insights --reason TEXT"),
        (
            5,
            rows.orphaned_reservation,
            "reservations --stuck",
            "reservations --stuck",
            "reservations --stuck --release --reason TEXT",
        ),
        (6, _change_a_wallet_by_sql, "ledger", "BROKEN", ""),
        (7, _deactivate_a_person, "person EMAIL", "inactive", ""),
        (8, _refuse_an_upload, "uploads", "refused", ""),
        (9, _lose_a_key, "keys", "a key that ENCRYPTION_KEYS does not have", ""),
        (9, _start_with_another_key, "keys", "with another ENCRYPTION_KEYS than", ""),
        (9, _change_a_key, "keys", "ENCRYPTION_KEYS does not open", ""),
        (10, _fail_a_chat, "reindex --status", "failed to index", "reindex --failed --reason TEXT"),
    ],
)
def test_a_symptom_prints_what_its_section_says_and_its_remedy_repairs_it(
    section: int, cause: Callable[[], object], command: str, phrase: str, remedy: str
) -> None:
    text = RUNBOOK.partition(f"\n### {section}. ")[2].partition("\n### ")[0]
    assert f"`manage.py {command}`" in text
    assert phrase in text
    cause()
    words = [{"EMAIL": "ann@example.org"}.get(word, word) for word in command.split()]
    status, printed = call(*words)
    assert phrase in printed
    if remedy:
        assert status == 1
        assert f"`manage.py {remedy}`" in text
        assert call(*remedy.split())[0] == 0
        assert call(*words)[0] == 0


def test_each_symptom_of_the_first_table_leads_to_its_section() -> None:
    titles = [
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", RUNBOOK, re.M)
    ]
    links = re.findall(r"\(#([^)]+)\)", RUNBOOK)
    assert len(links) > 20
    assert [link for link in links if link not in titles] == []


@pytest.mark.django_db
@pytest.mark.parametrize("password", ["", "a long enough password"], ids=["without", "with"])
def test_a_script_creates_an_account_that_logs_in_only_with_a_password(
    password: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_EMAIL", "root@example.org")
    if password:
        monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", password)
    assert call("createsuperuser", "--noinput")[0] == 0
    assert User.objects.get().has_usable_password() is bool(password)
    logged_in = client.login(username="root@example.org", password=password)
    assert logged_in is bool(password)
