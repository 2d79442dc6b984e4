"""The origin of a handshake: other sites' pages, and programs that name none, are refused before any work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus

from .conftest import Rig
from .servers import LiveServer
from .sockets import opened

REFUSED = {
    "missing": None,
    "null": "null",
    "foreign": "https://evil.example",
    "suffix": "https://good.example.evil.example",
    "prefix": "https://evilgood.example",
    "address": "http://127.0.0.2",
    "user part": "https://good.example@evil.example",
    "no scheme": "good.example.evil",
    "empty": " ",
    "file": "file://",
}
PERMITTED = {
    "own": "",
    "name": "https://good.example",
    "subdomain": "https://chat.good.example",
    "port": "http://127.0.0.1:9",
}


@pytest.fixture(scope="module", params=["uvicorn", "uvicorn-wsproto", "daphne"])
def site(module_rig: Rig, request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """A site that knows its own names."""
    server = module_rig.server(request.param, settings="tests.live.sites.hosts")
    yield server
    server.kill()


@pytest.mark.parametrize("case", REFUSED)
async def test_other_origins_are_refused_before_any_work(site: LiveServer, case: str) -> None:
    logged = site.logged
    with pytest.raises(InvalidStatus) as refused:
        async with opened(site, site.database.accounts["alice"], origin=REFUSED[case]):
            pass
    # Daphne itself answers 400 to what is no origin at all.
    assert refused.value.response.status_code in (400, 403)
    assert "identified" not in site.output(logged)


@pytest.mark.parametrize("case", PERMITTED)
async def test_the_site_s_own_origins_are_let_in(site: LiveServer, case: str) -> None:
    logged = site.logged
    async with opened(site, site.database.accounts["alice"], origin=PERMITTED[case]) as socket:
        assert (await socket.ask("ping"))["type"] == "pong"
    assert "identified" in site.output(logged)
