"""How soon the admin's pages answer on a large site: ``python -m benchmarks.lists``.

PostgreSQL holds what ``lists.sql`` makes: a million events, a hundred thousand messages. Every list is asked for with
each of its filters, searched, paged, and its detail pages opened, by a superuser through Django's test client. Each
figure is the median of five after one that does not count. A page that is slower than 300 ms is a failure.
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
    with PostgresServer(settings=POSTGRES_SETTINGS) as server:
        given = {"DJANGO_SETTINGS_MODULE": "project.settings", "DATABASE_URL": server.dsn(), "DJANGO_DEBUG": "0"}
        environment = {**os.environ, **given}
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=ROOT, env=environment, check=True)
        print("Making rows ...", file=sys.stderr, flush=True)
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(Path(__file__).with_suffix(".sql").read_bytes())
            connection.execute("VACUUM ANALYZE")
        command = [sys.executable, "-m", "benchmarks.site.lists"]
        raise SystemExit(subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
