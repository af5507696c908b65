"""The embedded servers are shared, survive crashes, and stop with their last user."""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from relivchats import embedded
from relivchats.privileges import is_reachable
from relivchats.servers import HOST, SHORT_WAL, Postgres
from relivchats.supervisor import ProcessError
from tests.processes import PATIENCE_SECONDS, REPOSITORY, eventually
from tests.stack.terminal import environment

# The data directory of this test run.
RUN = Path(os.environ["RELIVCHATS_DATA"])
USER = """
import sys
from relivchats import embedded
with embedded.running():
    print(embedded.database_url(), embedded.redis_url(), flush=True)
    sys.stdin.read()
"""


class User:
    """Another process that uses the servers of a directory until `leave`."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER],
            cwd=REPOSITORY,
            env=environment(directory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def addresses(self) -> list[str]:
        assert self.process.stdout
        line: str = self.process.stdout.readline()
        return line.split()

    def leave(self) -> None:
        self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_SECONDS)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new data directory, which this process names too. Where root runs the tests, only root may enter it."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("RELIVCHATS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def users(directory: Path) -> Iterator[list[User]]:
    started: list[User] = []
    yield started
    for user in started:
        if user.process.poll() is None:
            user.kill()


def answers(url: str) -> bool:
    try:
        if url.startswith("redis"):
            with redis.Redis.from_url(url) as client:
                return bool(client.ping())
        with psycopg.connect(url) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except (redis.ConnectionError, psycopg.OperationalError):
        return False


def test_the_servers_of_a_test_run_speak_utc_and_every_script() -> None:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        row = connection.execute(
            "SELECT current_setting('TimeZone'), current_setting('server_encoding'), datcollate"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert row == ("UTC", "UTF8", "C")


def test_a_wrong_password_opens_neither_server() -> None:
    for url in (embedded.database_url(), embedded.owner_url()):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(re.sub(":[^:@]+@", ":guess@", url))
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(host=HOST, port=embedded.valkey().port).ping()


def test_neither_role_is_a_superuser_and_the_application_owns_no_database() -> None:
    rows = []
    for url in (embedded.database_url(), embedded.owner_url()):
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT rolsuper, rolcreaterole, rolcreatedb, pg_has_role(datdba, 'MEMBER') FROM pg_roles, pg_database"
                " WHERE rolname = session_user AND datname = current_database()"
            ).fetchone()
            rows.append(row)
    assert rows == [(False, False, False, False), (False, False, True, True)]


def test_a_cluster_of_an_earlier_version_gets_the_role_of_the_application(directory: Path) -> None:
    with embedded.running():
        cluster = embedded.postgres()
    cluster._run_single(cluster.home, "DROP ROLE relivchats_app\n")
    (cluster.home / "application_role").unlink()
    with embedded.running():
        assert answers(embedded.database_url())


def test_a_lost_password_of_the_application_is_replaced(directory: Path) -> None:
    with embedded.running():
        lost = embedded.database_url()
    (directory / "keys" / "postgres-application.password").unlink()
    with embedded.running():
        assert embedded.database_url() != lost
        assert answers(embedded.database_url())
        assert answers(embedded.owner_url())


def test_naming_the_servers_starts_nothing_and_gives_the_same_names_again(directory: Path) -> None:
    url = embedded.database_url()
    assert embedded.database_url() == url
    assert not answers(url)
    assert not (directory / "postgres").exists()


def test_the_last_user_out_stops_the_servers_and_finds_their_data_again(directory: Path, users: list[User]) -> None:
    users.extend([User(directory), User(directory)])
    first, second = (user.addresses() for user in users)
    assert first == second
    with psycopg.connect(embedded.owner_url()) as connection:
        connection.execute("CREATE TABLE kept (word text)")
    redis.Redis.from_url(first[1]).set("kept", "yes")
    users[0].leave()
    assert all(answers(url) for url in first)
    users[1].leave()
    assert not any(answers(url) for url in first)
    with embedded.running():
        assert redis.Redis.from_url(embedded.redis_url()).get("kept") == b"yes"
        with psycopg.connect(embedded.owner_url()) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_the_servers_of_a_killed_user_stop_by_themselves(directory: Path, users: list[User]) -> None:
    users.append(User(directory))
    addresses = users[0].addresses()
    users[0].kill()
    eventually(lambda: not any(answers(url) for url in addresses))


def test_a_server_whose_port_is_taken_uses_another(directory: Path) -> None:
    embedded.redis_url()
    taken = embedded.valkey().port
    with socket.create_server((HOST, taken)), embedded.running():
        assert embedded.valkey().port != taken
        assert answers(embedded.redis_url())


def test_postgres_starts_although_its_old_pid_belongs_to_another_program(directory: Path) -> None:
    with embedded.running():
        postmaster = directory / "postgres" / "postmaster.pid"
        lines = postmaster.read_text().splitlines()
    # Postgres gives way only to processes of its own user.
    stranger = (RUN / "run" / "valkey.pid").read_text().strip()
    postmaster.write_text("\n".join([stranger, *lines[1:]]) + "\n")
    with embedded.running():
        assert answers(embedded.database_url())


def test_no_failing_statement_leaves_a_persons_text_in_the_log_of_postgres() -> None:
    text = f"Meera said swordfish{time.time_ns()}"
    statements: list[tuple[str, tuple[object, ...]]] = [
        (f"SELECT '{text}'::integer", ()),
        ("SELECT %s::text::integer", (text,)),
        (f"SELECT nonsense '{text}'", ()),
        (f'SELECT "{text}"', ()),
        (f"DO $$ BEGIN RAISE WARNING '{text}'; RAISE EXCEPTION '{text}'; END $$", ()),
        ("INSERT INTO words VALUES (%s), (%s)", (text, text)),
        (f"SET LOCAL statement_timeout = '50ms'; SELECT pg_sleep(5), '{text}'", ()),
    ]
    with psycopg.connect(embedded.database_url()) as connection:
        connection.execute("CREATE TEMPORARY TABLE words (word text UNIQUE)")
        for statement, values in statements:
            with pytest.raises(psycopg.Error), connection.transaction():
                connection.execute(statement, values or None)
    log = embedded.postgres().log.read_text()
    assert "ready to accept connections" in log
    assert "swordfish" not in log


@pytest.mark.slow
def test_a_deleted_row_leaves_the_write_ahead_log(directory: Path) -> None:
    intervals = [name for name in ("checkpoint_timeout", *SHORT_WAL) if name.endswith("timeout")]

    class Hurried(Postgres):
        """With 30 s instead of five minutes."""

        def command(self) -> list[str]:
            return [*super().command(), *(word for name in intervals for word in ("-c", f"{name}=30s"))]

    server = Hurried(directory, embedded.postgres().password)
    server.prepare()
    child = server.child()
    child.start()
    try:
        eventually(server.answers)
        secret = os.urandom(60)
        log = server.home / "pg_wal"

        def segments_with_the_row() -> list[str]:
            owner.execute("UPDATE clock SET now = now()")
            return [path.name for path in log.glob("0*") if secret in path.read_bytes()]

        with psycopg.connect(server.owner_url, autocommit=True) as owner:
            owner.execute("CREATE TABLE keys AS SELECT %s::bytea", [secret])
            owner.execute("CREATE TABLE clock AS SELECT now()")
            owner.execute("DELETE FROM keys")
            owner.execute("VACUUM keys")
            assert segments_with_the_row()
            # Measured: 62 s, or 121 s with wal_recycle=on, and never without archive_timeout.
            deadline = time.monotonic() + 95
            while segments_with_the_row():
                assert time.monotonic() < deadline
                time.sleep(0.5)
    finally:
        child.stop()


def test_a_half_created_cluster_is_created_again(directory: Path) -> None:
    embedded.prepare_directory()
    (directory / "postgres.new").mkdir()
    (directory / "postgres.new" / "PG_VERSION").write_text("18")
    with embedded.running():
        assert answers(embedded.database_url())


def test_only_the_missing_server_is_started(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere/else")
    with embedded.running():
        assert answers(embedded.redis_url())
        assert not (directory / "postgres").exists()


def test_a_server_that_cannot_start_is_reported_with_the_end_of_its_log(directory: Path) -> None:
    embedded.prepare_directory()
    (directory / "postgres").mkdir()
    (directory / "postgres" / "PG_VERSION").write_text("9")
    with (
        pytest.raises(ProcessError, match=r"Postgres did not start. The end of .*postgres\.log:\n"),
        embedded.running(),
    ):
        pass


def test_a_data_directory_that_cannot_be_created_is_named(
    directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RELIVCHATS_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(ProcessError, match="Cannot write to the data directory"):
        embedded.prepare_directory()


def test_concurrent_first_callers_get_the_same_secret(directory: Path) -> None:
    barrier = threading.Barrier(8)
    found: list[str] = []

    def ask(number: int) -> None:
        barrier.wait()
        found.append(embedded.secret("word", lambda: f"made by {number}"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert (directory / "keys" / "word").stat().st_mode & 0o777 == 0o600


def test_a_keyring_that_was_lost_is_never_replaced(directory: Path) -> None:
    text = embedded.keyring(lambda: "the first")
    assert embedded.keyring(lambda: "another") == text == "the first"
    path = directory / "keys" / "keyring"
    path.unlink()
    with pytest.raises(ProcessError, match="Restore the file from a backup"):
        embedded.keyring(lambda: "another")
    assert not path.exists()
    path.write_text(text)
    assert embedded.keyring(lambda: "another") == text


def test_a_frozen_user_keeps_its_servers_and_blocks_nobody(directory: Path, users: list[User]) -> None:
    users.append(User(directory))
    addresses = users[0].addresses()
    users[0].process.send_signal(signal.SIGSTOP)
    started_at = time.monotonic()
    with embedded.running():
        pass
    assert time.monotonic() - started_at < embedded.STOP_TIMEOUT_SECONDS
    assert all(answers(url) for url in addresses)


def test_the_servers_run_for_a_user_who_is_not_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("these tests run as an ordinary user already")
    account = pwd.getpwnam("daemon")
    # In the directory of the test run: only root may enter pytest's directories.
    data = RUN / "ordinary"
    data.mkdir(mode=0o700)
    os.chown(data, account.pw_uid, account.pw_gid)
    done = subprocess.run(
        [ordinary_python(), "-c", USER],
        cwd=REPOSITORY,
        env=environment(data) | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *site_packages()])},
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        input="",
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [url.split(":")[0] for url in done.stdout.split()] == ["postgresql", "redis"]
    assert (data / "postgres" / "PG_VERSION").stat().st_uid == account.pw_uid


def site_packages() -> list[str]:
    return [path for path in sys.path if path.endswith("site-packages")]


def ordinary_python() -> str:
    """A Python of this version that any user may run, since root's own may lie in root's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [Path(sys.executable).resolve(), *(Path(place) / version for place in ("/usr/bin", "/usr/local/bin"))]
    paths = [REPOSITORY / "x", *(Path(path) / "x" for path in site_packages())]
    if not all(is_reachable(path) for path in paths):
        pytest.skip("the code lies where only root may enter")
    for candidate in candidates:
        if candidate.exists() and is_reachable(candidate):
            return str(candidate)
    pytest.skip(f"no {version} that an ordinary user may run")
