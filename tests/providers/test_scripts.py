"""Scripts: every step in both its forms, how one is chosen, and the pace."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from llmstream.exceptions import ProviderRateLimited, ProviderUnavailable
from llmstream.providers import (
    ChatMessage,
    Finish,
    Keepalive,
    ProviderContextExceeded,
    ProviderRequest,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    Usage,
    scripted,
)
from llmstream.providers.script import Cut, Paced, ScriptError, Stall, Wait, parse_script
from llmstream.providers.scripted import ScriptedProvider

from .asking import PROMPT, ask, fail, of_type, request, text

WORDS_OF_PROMPT = 4


async def test_a_script_is_played_and_finished() -> None:
    assert await ask(ScriptedProvider(["Hello ", ReasoningDelta("hm"), "you"])) == [
        "Hello ",
        ReasoningDelta("hm"),
        "you",
        Usage(WORDS_OF_PROMPT, 3, reasoning_tokens=1),
        Finish("stop"),
    ]


async def test_every_step_has_a_form_as_data() -> None:
    steps: list[Any] = [
        "a",
        {"text": "b"},
        {"text": "c d", "per_second": 1000},
        {"tokens": 2, "per_second": 0},
        0.01,
        {"reasoning": "r"},
        {"refusal": "no"},
        {"started": "id"},
        {"keepalive": True},
        {"usage": {"input_tokens": 3, "output_tokens": 5, "cached_tokens": 1, "cost": 0.1}},
        {"finish": "length"},
        {"cut": True},
        {"stall": True},
        {"error": "provider_rate_limited", "retry_after_ms": 2000},
        {"raise": "boom"},
    ]
    *parts, error, bug = parse_script(json.loads(json.dumps(steps)))
    assert parts == [
        "a",
        "b",
        Paced("c d", per_second=1000),
        Paced(tokens=2, per_second=0),
        Wait(0.01),
        ReasoningDelta("r"),
        RefusalDelta("no"),
        ResponseStarted("id"),
        Keepalive(),
        Usage(3, 5, cached_tokens=1, cost=Decimal("0.1")),
        Finish("length"),
        Cut(),
        Stall(),
    ]
    assert isinstance(error, ProviderRateLimited)
    assert error.retry_after_ms == 2000
    assert isinstance(bug, RuntimeError)


@pytest.mark.parametrize(
    "script",
    [
        "text",
        {"text": "x"},
        [{"unheard": 1}],
        [{"text": "a", "finish": "stop"}],
        [{"error": "no_such_code"}],
        [{"usage": {"tokens": 1}}],
        [{"tokens": "many"}],
        [None],
        [True],
        [int],
    ],
)
def test_a_wrong_script_is_refused_at_once(script: Any) -> None:
    with pytest.raises(ScriptError):
        ScriptedProvider(script)


async def test_figures_and_finish_of_the_script_win() -> None:
    parts = await ask(ScriptedProvider(["a", {"usage": {"input_tokens": 7, "output_tokens": 9}}, {"finish": "length"}]))
    assert parts == ["a", Usage(7, 9), Finish("length")]
    assert of_type(await ask(ScriptedProvider(["a"], usage=False)), Usage) == []


async def test_faults() -> None:
    assert await ask(ScriptedProvider(["a", Cut(), "b"])) == ["a"]
    parts, error = await fail(ScriptedProvider(["a", {"error": "provider_rate_limited", "retry_after_ms": 5}]))
    assert (parts, type(error), error.retry_after_ms) == (["a"], ProviderRateLimited, 5)
    _, error = await fail(ScriptedProvider([ProviderUnavailable]))
    assert type(error) is ProviderUnavailable
    _, error = await fail(ScriptedProvider([{"error": "provider_context_exceeded"}]))
    assert type(error) is ProviderContextExceeded
    with pytest.raises(RuntimeError, match="boom"):
        await ask(ScriptedProvider(["a", {"raise": "boom"}]))


async def test_a_stall_lasts_until_it_is_closed() -> None:
    stream = ScriptedProvider(["a", {"stall": True}]).stream(request())
    assert await anext(stream) == "a"
    waiting = asyncio.ensure_future(anext(stream))
    assert await asyncio.wait([waiting], timeout=0.05) == (set(), {waiting})
    waiting.cancel()
    await asyncio.wait([waiting])
    await stream.aclose()


async def test_scripts_are_chosen_by_prompt_then_turn_then_function() -> None:
    def choose(asked: ProviderRequest) -> list[str]:
        return [f"{asked.model}!"]

    provider = ScriptedProvider(choose, scripts={"special": ["for you"]})
    assert text(await ask(provider, "m", ChatMessage("user", "special"))) == "for you"
    assert text(await ask(provider, "m", ChatMessage("user", "else"))) == "m!"
    turns = ScriptedProvider(turns=[[ProviderUnavailable()], ["second"], ["rest"]])
    assert type((await fail(turns))[1]) is ProviderUnavailable
    assert [text(await ask(turns)) for _ in range(3)] == ["second", "rest", "rest"]


async def test_calls_are_remembered() -> None:
    provider = ScriptedProvider(["a"])
    await ask(provider, "one")
    await ask(provider, "two", temperature=1)
    assert [call.model for call in provider.requests] == ["one", "two"]
    assert provider.requests[-1].options == {"temperature": 1}
    assert provider.requests[-1].messages == PROMPT


async def test_without_a_script_the_prompt_is_quoted() -> None:
    provider = ScriptedProvider(per_second=0)
    first, second = await ask(provider), await ask(provider)
    assert first == second
    assert text(first).startswith("You said: Say something.\n\nThis is a scripted answer")
    assert len(of_type(first, str)) == of_type(first, Usage)[0].output_tokens


async def test_paced_text_keeps_its_spaces() -> None:
    said = "  one\n\n two\tthree  "
    assert text(await ask(ScriptedProvider([Paced(said, per_second=0)]))) == said
    assert text(await ask(ScriptedProvider([Paced(" \n", per_second=0)]))) == " \n"


class Clock:
    """Stands for asyncio and for its loop; its time goes on only while somebody sleeps."""

    now = 0.0

    def get_running_loop(self) -> Clock:
        """Return what has the time."""
        return self

    def time(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


async def test_pace_does_not_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted, "asyncio", clock := Clock())
    late: list[float] = []
    async for part in ScriptedProvider(tokens=50, per_second=200).stream(request()):
        if isinstance(part, str):
            late.append(clock.now - len(late) / 200)
            if len(late) == 10:
                await clock.sleep(0.05)  # A reader that is late once.
    assert late[:10] == pytest.approx([0.0] * 10)
    assert late[10] == pytest.approx(0.045)
    assert late[19:] == pytest.approx([0.0] * 31)


async def test_a_fast_script_leaves_the_event_loop_to_others() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await ask(ScriptedProvider(tokens=100, per_second=0))
    task.cancel()
    assert turns >= 90
