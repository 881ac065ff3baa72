"""pgbench and PgBouncer (Debian packages ``postgresql-contrib``, ``pgbouncer``), for benchmarks of the SQL router."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

PORT = 6432
USER = "pgserver"
"""PgBouncer does not run as root; the embedded PostgreSQL made this user for itself."""


@dataclass(frozen=True)
class Load:
    """What pgbench measured: transactions in all, per second, and the mean latency in microseconds."""

    transactions: int
    per_second: float
    microseconds: float


def load(url: str, script: Path, *, clients: int, seconds: float, mode: str = "prepared") -> Load:
    """Run a script by ``clients`` connections. Raises CalledProcessError when a statement fails."""
    command = ["pgbench", "-n", "-f", str(script), "-c", str(clients), "-j", "1", "-M", mode, "-T", str(int(seconds))]
    out = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    done = re.search(r"actually processed: (\d+)", out)
    rate = re.search(r"tps = ([\d.]+) \(without", out)
    mean = re.search(r"latency average = ([\d.]+) ms", out)
    assert done is not None
    assert rate is not None
    assert mean is not None
    return Load(int(done[1]), float(rate[1]), 1e6 * clients / float(rate[1]))


@contextmanager
def pgbouncer(host: str, database: str, folder: Path) -> Iterator[str | None]:
    """Run PgBouncer before a database on a unix socket; yield its URL, None where it is not installed.

    It pools sessions: before version 1.21 it keeps no prepared statements otherwise.
    """
    binary = shutil.which("pgbouncer")
    if binary is None:
        yield None
        return
    folder.chmod(0o777)
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{database} = host={host} user=postgres\n[pgbouncer]\nlisten_port = {PORT}\n"
        f"unix_socket_dir = {folder}\nauth_type = any\npool_mode = session\ndefault_pool_size = 20\n"
        f"logfile = {folder}/pgbouncer.log\n"
    )
    process = subprocess.Popen([binary, "-q", "-u", USER, str(settings)], stderr=subprocess.DEVNULL)
    url = f"postgresql://postgres@/{database}?host={folder}&port={PORT}"
    try:
        end = time.monotonic() + 20
        while True:
            try:
                psycopg.connect(url).close()
                break
            except psycopg.OperationalError:
                if time.monotonic() > end or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)
