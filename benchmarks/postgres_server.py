"""A PostgreSQL server of a benchmark's own, in a folder that is removed with it; never one that runs already."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import adbc_driver_postgresql.dbapi as driver

_PATIENCE_S = 60.0


class Server:
    """A running server; the user is ``postgres`` and needs no password, the database is ``shop``.

    Args:
        settings: of the server, such as ``fsync=off``.
    """

    def __init__(self, *settings: str) -> None:
        found = shutil.which("initdb")
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts)
        if found is None and not versions:
            raise SystemExit("needs PostgreSQL: apt-get install postgresql")
        self._binaries = Path(found).parent if found else versions[-1].parent
        self.folder = Path(tempfile.mkdtemp(prefix="kincast-bench-"))
        owner = pwd.getpwnam("postgres") if os.geteuid() == 0 else None  # the server refuses to run as root
        self._become: dict[str, Any] = {}
        if owner is not None:
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self._become = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._settings = settings
        self._run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/shop"
        self.start()
        run(self.url.replace("/shop", "/postgres"), "CREATE DATABASE shop")

    def start(self) -> None:
        """Start it, or start it again after a kill; returns when it answers."""
        settings = [f"port={self._port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "wal_level=logical"]
        options = [part for setting in (*settings, *self._settings) for part in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            # A child of our own: a server that was killed and that nobody waits for would seem to be running still.
            self._process = subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", "data", *options],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._become,
            )  # fmt: skip
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                driver.connect(self.url.replace("/shop", "/postgres")).close()
                return
            except driver.Error:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"PostgreSQL does not start:\n{self._said()}") from None
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL the server's first process and wait until all of its processes are gone."""
        lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        self._process.kill()
        self._process.wait()
        end = time.monotonic() + _PATIENCE_S
        while self._has_memory(lines) and time.monotonic() < end:
            time.sleep(0.02)

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _has_memory(self, lines: list[str]) -> bool:
        """True while a process of the killed server still holds its shared memory."""
        key, _, memory = lines[6].strip().partition(" ") if len(lines) > 6 else ("", "", "")
        del key
        try:
            rows = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
        except OSError:
            return False
        return any(row.split()[1] == memory.strip() and int(row.split()[6]) > 0 for row in rows)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **self._become
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")

    def _said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2_000:]


def run(url: str, sql: str) -> None:
    """Run statements."""
    with driver.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executescript(sql)
