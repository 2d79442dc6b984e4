"""RFC 6455 beneath the app: Autobahn's cases, by PyPI ``kosoku``, against an echo in the site's WebSocket stack."""

from __future__ import annotations

import asyncio

import pytest
from kosoku import run_fuzzingclient

from .conftest import Rig

#: Everything but the limits (9.*), which are about size, and compression (12.*, 13.*).
CASES = [f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 10)]


@pytest.mark.parametrize("kind", ["uvicorn-wsproto", "uvicorn-websockets"])
async def test_the_servers_keep_to_rfc_6455(rig: Rig, kind: str) -> None:
    server = rig.server(kind, app="tests.live.sites.echo:application")
    # One after the other, as some cases are about the time in which the server answers.
    run = run_fuzzingclient(server.url.replace("http", "ws") + "/", cases=CASES)
    results = await asyncio.wait_for(run, 100)
    assert len(results) == 247
