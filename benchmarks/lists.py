"""How soon the admin's pages answer on a large site: ``python -m benchmarks.lists``.

PostgreSQL holds what ``lists.sql`` makes: a million events, a hundred thousand messages. Every list is asked for with
each of its filters, searched, paged, and its detail pages opened, by a superuser through Django's test client. Each
figure is the median of five after one that does not count. A page that is slower than 300 ms is a failure.

With ``BENCH_POSTGRES``, the URL of an empty database on a server that has ``pg_trgm``, the pages are asked for there,
and searched with ``llmstream.contrib.trigram``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg

from tools.services.postgres import PostgresServer

from .databases import POSTGRES_SETTINGS
from .server import ROOT


def main() -> None:
    """Make the site and have every page asked for."""
    if url := os.environ.get("BENCH_POSTGRES"):
        raise SystemExit(pages(url, "benchmarks.site.searched"))
    with PostgresServer(settings=POSTGRES_SETTINGS) as server:
        raise SystemExit(pages(server.dsn(), "project.settings"))


def pages(url: str, settings: str) -> int:
    """Fill the database and ask for the pages; return the status."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": settings, "DATABASE_URL": url, "DJANGO_DEBUG": "0"}
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=ROOT, env=environment, check=True)
    print("Making rows ...", file=sys.stderr, flush=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(Path(__file__).with_suffix(".sql").read_bytes())
        connection.execute("VACUUM ANALYZE")
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.site.lists"], cwd=ROOT, env=environment, check=False
    ).returncode


if __name__ == "__main__":
    main()
