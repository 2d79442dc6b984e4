"""A stop against the answer's own end, over HTTP at two processes: one of them wins, and everybody is told the same.

``LLMSTREAM_RACES`` is the number of races, 60 by default.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.live.api import Api
from tests.live.sites.provider import script

from .checker import check
from .plan import Plan
from .record import Recorder, dump
from .site import Services, Site

RACES: Final = int(os.environ.get("LLMSTREAM_RACES", "60"))
#: On both databases when there are many.
DATABASES: Final = ("sqlite", "postgres") if RACES >= 1_000 else ("sqlite",)
EACH: Final = RACES // len(DATABASES)
TOGETHER: Final = 12
#: An answer takes about this long; the racers aim for its end.
LENGTH: Final = 0.15

pytestmark = pytest.mark.timeout(120 + RACES)


class Racer:
    """Asks and stops in a conversation of its own, aiming at the moment at which the answer ends."""

    def __init__(self, site: Site, session: aiohttp.ClientSession, recorder: Recorder, conversation: str) -> None:
        self._apis = site.apis("alice", direct=True)
        self._luck = site.plan.luck(recorder.client)
        self._session = session
        self._recorder = recorder
        self._conversation = conversation
        self._aim = LENGTH
        self.winners: Counter[str] = Counter()

    async def _post(self, path: str, **body: Any) -> dict[str, Any]:
        api: Api = self._luck.choice(self._apis)
        headers = {**api.account.headers, "Cookie": "; ".join(f"{k}={v}" for k, v in api.account.cookies.items())}
        async with self._session.post(api.url(path), json=body, headers=headers) as response:
            assert response.status in {200, 201}, f"{response.status} {await response.text()}"
            found: dict[str, Any] = await response.json()
            return found

    async def race(self, number: int) -> None:
        """Ask, wait, stop; then aim better."""
        client_id = f"{self._recorder.client}-{number}"
        self._recorder.write("asked", client_id=client_id)
        path = f"conversations/{self._conversation}/messages/"
        prompt = script(3, LENGTH / 3)
        sent = await self._post(path, content=prompt, client_id=client_id, busy="queue")
        generation = sent["generation"]["id"]
        self._recorder.write("accepted", client_id=client_id, generation=generation)
        await asyncio.sleep(self._aim * self._luck.uniform(0.8, 1.2))
        stopped = (await self._post(f"generations/{generation}/stop/"))["generation"]
        self._recorder.write("stopped", generation=generation, status=stopped["status"])
        self.winners[stopped["status"]] += 1
        self._aim = min(self._aim * (1.15 if stopped["status"] == "stopped" else 0.87), 2 * LENGTH)


@pytest.mark.parametrize("database", DATABASES)
async def test_a_stop_against_the_end_has_one_winner(services: Services, directory: Path, database: str) -> None:
    plan = Plan("races", database, True, 2, TOGETHER, 0.0, linked=False)
    winners: Counter[str] = Counter()
    async with Site(plan, services, directory) as site, aiohttp.ClientSession() as session:

        async def line_up(lane: int) -> None:
            conversation = await site.apis("alice", direct=True)[0].conversation()
            about = {"conversation": conversation, "scope": "generation", "canary": "", "leaves": True}
            with Recorder(directory, f"lane{lane}", **about) as recorder:
                racer = Racer(site, session, recorder, conversation)
                for number in range(lane, EACH, TOGETHER):
                    await racer.race(number)
            winners.update(racer.winners)

        await asyncio.gather(*(line_up(lane) for lane in range(TOGETHER)))
        dump(site.database, directory)
    found = check(directory)
    print(f"{database}: {winners.total()} races, {dict(winners)}, {len(found)} violations")
    assert not found, found[:20]
    assert winners.total() == EACH
    assert set(winners) <= {"stopped", "completed"}
