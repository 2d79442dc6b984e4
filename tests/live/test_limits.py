"""Limits of an account hold over processes that are asked at once, and are right again after one was killed."""

from __future__ import annotations

import asyncio
from collections import Counter

from .api import Api
from .conftest import CALM, Rig
from .sites.provider import script

MOST = 5
PROMPTS = 20
LIMITS = {**CALM, "LIMITS": {"USER": {"GENERATIONS": MOST}}}
ENDLESS = script(5_000, 0.05)


async def ask_at_once(apis: tuple[Api, Api], conversations: list[str]) -> tuple[list[str], Counter[str]]:
    """Send a prompt to each conversation, by turns at both servers; return the generations and the refusals."""
    calls = [
        apis[place % 2].request("POST", f"conversations/{conversation}/messages/", json={"content": ENDLESS})
        for place, conversation in enumerate(conversations)
    ]
    responses = await asyncio.gather(*calls)
    taken = [response.json()["generation"]["id"] for response in responses if response.status_code == 201]
    refused = Counter(response.json()["error"]["code"] for response in responses if response.status_code != 201)
    return taken, refused


async def test_so_many_answers_at_once_over_two_servers_and_after_a_crash(rig: Rig) -> None:
    database = rig.database("postgres")
    servers = [rig.launch("uvicorn", database, llmstream=LIMITS) for _ in range(2)]
    here, there = (Api(server.wait_ready().url, database.accounts["alice"]) for server in servers)
    conversations = [await here.conversation() for _ in range(PROMPTS)]
    taken, refused = await ask_at_once((here, there), conversations)
    assert len(taken) == MOST
    assert refused == {"too_many_generations": PROMPTS - MOST}

    servers[0].kill()
    for generation in taken:
        await there.stop(generation)
    for conversation in conversations:
        await there.settled(conversation)
    taken, refused = await ask_at_once((there, there), conversations)
    assert (len(taken), refused) == (MOST, {"too_many_generations": PROMPTS - MOST})
    for generation in taken:
        await there.stop(generation)
