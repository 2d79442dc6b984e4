"""What a model is sent when its history does not fit: the newest turns, whole, and a note of what was left out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from llmstream.answer import Answer
from llmstream.context import ContextPolicy, NewestTurns, estimate
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.log.reading import read_rows
from llmstream.models import Conversation, Generation
from llmstream.providers.base import ChatMessage, Finish, ProviderRequest, ToolCall, ToolSpec
from llmstream.snapshot import state
from llmstream.tools import tool
from tests.support import ask_in, check_log, conversation, ended, model, site

#: One token a word.
WORDS = NewestTurns(counter=lambda text: len(text.split()))


def turns(text: str) -> list[ChatMessage]:
    """Return turns from one line: ``u`` a user's, ``a`` an answer, ``s`` the system's, ``c`` a call, ``t`` a result."""
    roles = {"s": "system", "u": "user", "a": "assistant", "c": "assistant", "t": "tool"}
    found = []
    for word in text.split():
        calls = [ToolCall(word, "look", "{}")] if word[0] == "c" else []
        found.append(ChatMessage(roles[word[0]], "" if calls else word, calls, "c" if word[0] == "t" else ""))
    return found


def short(messages: Sequence[ChatMessage]) -> str:
    """Return turns as the line that makes them."""
    return " ".join(turn.tool_calls[0].id if turn.tool_calls else turn.content for turn in messages)


@pytest.mark.parametrize(
    ("history", "tokens", "sent"),
    [
        ("s u1 a1 u2 a2 u3", 0, "s u1 a1 u2 a2 u3"),
        ("s u1 a1 u2 a2 u3", 6, "s u1 a1 u2 a2 u3"),
        ("s u1 a1 u2 a2 u3", 5, "s u2 a2 u3"),
        ("s u1 a1 u2 a2 u3", 4, "s u2 a2 u3"),
        ("s u1 a1 u2 a2 u3", 3, "s u3"),
        ("s u1 a1 u2 a2 u3", 1, "s u3"),
        ("u1 a1 u2", 2, "u2"),
        # A call and what it returned: together or not at all.
        ("u1 c1 t1 t2 a1 u2", 5, "u2"),
        ("u1 c1 t1 t2 a1 u2", 6, "u1 c1 t1 t2 a1 u2"),
        ("s u1 a1 u2 c1 t1 c2 t2", 8, "s u1 a1 u2 c1 t1 c2 t2"),
        ("s u1 a1 u2 c1 t1 c2 t2", 7, "s u2 c1 t1 c2 t2"),
        ("s u1 a1 u2 c1 t1 c2 t2", 5, "s u2 c2 t2"),
        ("s u1 a1 u2 c1 t1 c2 t2", 3, "s u2"),
        ("", 5, ""),
    ],
)
async def test_the_newest_turns_that_fit_are_sent(history: str, tokens: int, sent: str) -> None:
    request = ProviderRequest("g", "m", turns(history))
    assert short(await WORDS.fit(request, tokens)) == sent


async def test_tools_take_their_share() -> None:
    look = ToolSpec("look", "looks " * 3, {"type": "object"})
    request = ProviderRequest("g", "m", turns("u1 a1 u2"), tools=[look])
    assert short(await WORDS.fit(request, 6)) == "u2"
    assert short(await WORDS.fit(request, 7)) == "u1 a1 u2"


async def test_a_token_is_four_characters_unless_the_site_counts() -> None:
    assert [estimate(text) for text in ("", "abc", "abcd", "abcde")] == [0, 1, 1, 2]
    long = ProviderRequest("g", "m", [ChatMessage("user", "x" * 40), ChatMessage("user", "y" * 40)])
    assert len(await NewestTurns().fit(long, 20)) == 2
    assert len(await NewestTurns().fit(long, 19)) == 1
    assert len(await NewestTurns(counter="builtins.len").fit(long, 20)) == 1


class Everything:
    """A model that keeps what it was sent, and answers with ten characters."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def __call__(self, request: ProviderRequest) -> AsyncGenerator[Any, None]:
        """Answer."""
        self.seen.append(" ".join(turn.content for turn in request.messages))
        yield "A" * 10
        yield Finish("stop")


@pytest.mark.django_db(transaction=True)
async def test_what_was_left_out_is_told_and_stays_known(running: Engine) -> None:
    upstream, owner = Everything(), await run_db(conversation)
    entry = model(upstream, SYSTEM="Be brief.", CONTEXT_TOKENS=26, CONTEXT_OPTIONS={"counter": "builtins.len"})
    with site(models={"default": entry}):
        for prompt in ("1", "2", "3"):
            generation = await ended((await ask_in(running, owner, prompt)).generation)
    assert upstream.seen == ["Be brief. 1", f"Be brief. 1 {'A' * 10} 2", f"Be brief. 2 {'A' * 10} 3"]
    events = await run_db(check_log, owner)
    [told] = [event for event in events if event["type"] == "context"]
    expected = {"message": generation.message.public_id, "generation": generation.public_id}
    assert told == {**expected, "type": "context", "seq": told["seq"], "messages": 4, "left_out": 2}
    assert generation.left_out == 2
    row = await run_db(Conversation.objects.get, pk=owner.pk)
    # As it was told, and before it ended.
    for seq, known in ((row.head, 2), (told["seq"], 2), (told["seq"] - 1, 0)):
        found = await run_db(state, row, seq)
        assert found["generations"][-1]["left_out"] == known
    rows = await run_db(read_rows, owner.pk, generation.first_seq - 1)
    assert Answer.from_rows(rows, generation.pk).left_out == 2


@tool
def look(place: str) -> str:
    """Look there."""
    return f"{place} is far away. " * 50


@pytest.mark.django_db(transaction=True)
async def test_an_answer_that_grows_too_long_loses_its_own_first_steps(running: Engine) -> None:
    seen: list[str] = []

    async def curious(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        seen.append(" ".join(turn.tool_call_id or turn.role for turn in request.messages if turn.role != "assistant"))
        if len(seen) < 3:
            yield ToolCall(f"c{len(seen)}", "look", '{"place": "Rome"}')
            yield Finish("tool_calls")
        else:
            yield "Far."
            yield Finish("stop")

    owner = await run_db(conversation)
    entry = model(curious, TOOLS=["tests.test_context.look"], CONTEXT_TOKENS=400)
    with site(models={"default": entry}):
        generation = await ended((await ask_in(running, owner, "Where?")).generation)
    assert (generation.status, seen) == ("completed", ["user", "user c1", "user c2"])
    assert generation.left_out == 2


class Last(ContextPolicy):
    """Sends the newest turn alone, whatever the window."""

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    async def fit(self, request: ProviderRequest, tokens: int) -> Sequence[ChatMessage]:
        """Greet first."""
        return [ChatMessage("system", f"{self.greeting} {tokens}"), request.messages[-1]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("named", [Last, "tests.test_context.Last"])
async def test_a_site_s_own_policy_takes_its_place(running: Engine, named: Any) -> None:
    upstream, owner = Everything(), await run_db(conversation)
    entry = model(upstream, CONTEXT=named, CONTEXT_OPTIONS={"greeting": "Hail"})
    with site(models={"default": entry}):
        for prompt in ("1", "2"):
            generation = await ended((await ask_in(running, owner, prompt)).generation)
    assert upstream.seen == ["Hail 0 1", "Hail 0 2"]
    assert generation.left_out == 1


class Broken(ContextPolicy):
    """Cannot choose."""

    async def fit(self, request: ProviderRequest, tokens: int) -> Sequence[ChatMessage]:
        """Fail."""
        raise ValueError("no")


@pytest.mark.django_db(transaction=True)
async def test_a_policy_that_fails_fails_the_answer(running: Engine) -> None:
    owner = await run_db(conversation)
    with site(models={"default": model(Everything(), CONTEXT=Broken)}):
        sent = await ask_in(running, owner)
        generation = await ended(sent.generation)
    assert (generation.status, generation.error_code) == ("failed", "provider_error")
    assert await run_db(Generation.objects.filter(conversation=owner).count) == 1
