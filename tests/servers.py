"""Real servers for tests, started on free ports of the loopback interface and stopped at the end."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MISSING = "needs a PostgreSQL server: apt-get install postgresql"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a running PostgreSQL server, without a database name; user ``postgres``, password ``s3cret``."""
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="kincast-pg-"))
    # The server refuses to run as root.
    owner = _unprivileged() if os.geteuid() == 0 else None
    if owner is not None:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    become = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner is not None else {}

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(binaries / program), *arguments], cwd=folder, capture_output=True, text=True, check=False, **become
        )
        if done.returncode:
            log = folder / "log"
            pytest.fail(f"{program}: {done.stdout}{done.stderr}{log.read_text() if log.exists() else ''}")

    password = folder / "password"
    password.write_text("s3cret\n")
    password.chmod(0o644)
    data, port = str(folder / "data"), _free_port()
    try:
        run(
            "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", str(password), "-N", "-E", "UTF8"
        )
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        options += " -c wal_level=logical -c max_replication_slots=64"
        run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
        try:
            yield f"postgresql://postgres:s3cret@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres_server: str) -> Iterator[Callable[[str], str]]:
    """Makes a new database, runs statements in it and gives its URL."""
    import adbc_driver_postgresql.dbapi as driver

    made: list[str] = []

    def run(database: str, sql: str) -> None:
        url = f"{postgres_server}/{database}"
        with driver.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.executescript(sql)

    def make(sql: str) -> str:
        name = f"kincast_{os.getpid()}_{len(made)}"
        run("postgres", f"CREATE DATABASE {name}")
        made.append(name)
        if sql:
            run(name, sql)
        return f"{postgres_server}/{name}"

    yield make
    for name in made:
        run("postgres", f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """URL of a running Redis server."""
    port = _free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with _server("redis-server", options, port, "apt-get install redis-server"):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a running NATS server that keeps streams."""
    port = _free_port()
    folder = tmp_path_factory.mktemp("nats")
    options = ["-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]
    with _server("nats-server", options, port, "apt-get install nats-server"):
        yield f"nats://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def kafka_servers() -> Iterator[str]:
    """Addresses of a Kafka cluster that lives in the client library."""
    kafka = pytest.importorskip("confluent_kafka", reason="needs Kafka's client: pip install confluent-kafka")
    producer = kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
    brokers = producer.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    producer.flush(1)


@contextlib.contextmanager
def _server(program: str, options: list[str], port: int, install: str) -> Iterator[None]:
    """Run a server until the block ends; it answers on its port when the block begins."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {program}: {install}")
    process = subprocess.Popen([found, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{program} does not answer")
        yield
    finally:
        process.terminate()
        process.wait(20)


def _postgres_binaries() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts)
    return versions[-1].parent if versions else None


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("needs an unprivileged user 'postgres' to run PostgreSQL as")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
