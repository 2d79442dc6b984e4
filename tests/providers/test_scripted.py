"""The scripted model: what a script says is what comes, and a wrong one is told at once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import pytest

from llmstream.exceptions import ProviderRateLimited, ProviderTimeout
from llmstream.providers.base import (
    ChatMessage,
    Finish,
    ProviderRequest,
    ReasoningDelta,
    RefusalDelta,
    ToolCall,
    Usage,
)
from llmstream.providers.scripted import ScriptedProvider
from tests.providers.asking import ask, text
from tests.support import within


def request(*turns: str) -> ProviderRequest:
    """Return a request with these turns of a user."""
    return ProviderRequest("g", "scripted", [ChatMessage("user", turn) for turn in turns or ("Hi there",)])


async def played(provider: ScriptedProvider, *turns: str) -> list[Any]:
    """Return everything that a call yields."""
    return [part async for part in provider.stream(request(*turns))]


async def test_pieces_come_as_they_stand_with_counted_usage_and_a_finish() -> None:
    parts = await played(ScriptedProvider(["Hel", {"text": "lo"}, {"refusal": "No."}]))
    assert parts == ["Hel", "lo", RefusalDelta("No."), Usage(2, 3), Finish("stop")]


async def test_reasoning_and_the_script_s_own_ending_are_played() -> None:
    usage = {"input_tokens": 7, "output_tokens": 9}
    parts = await played(ScriptedProvider([{"reasoning": "hm"}, "x", {"usage": usage}, {"finish": "length"}]))
    assert [part for part in parts if isinstance(part, Usage)] == [Usage(7, 9)]
    assert [part for part in parts if isinstance(part, Finish)] == [Finish("length")]
    assert parts[:2] == [ReasoningDelta("hm"), "x"]


async def test_a_paced_text_comes_in_words_that_add_up_to_it() -> None:
    text = "  one two\n\nthree  "
    parts = await played(ScriptedProvider([{"text": text, "per_second": 10_000}]))
    words = [part for part in parts if isinstance(part, str)]
    assert "".join(words) == text
    assert len(words) == 3


async def test_a_call_may_fail_in_the_middle() -> None:
    limited = [{"text": "some"}, {"error": "provider_rate_limited", "retry_after_ms": 2_000}]
    async with aclosing(ScriptedProvider(limited).stream(request())) as parts:
        assert await anext(parts) == "some"
        with pytest.raises(ProviderRateLimited) as raised:
            await anext(parts)
    assert raised.value.retry_after_ms == 2_000
    with pytest.raises(ProviderTimeout):
        await played(ScriptedProvider([{"error": "provider_timeout"}]))
    with pytest.raises(RuntimeError, match="boom"):
        await played(ScriptedProvider([{"raise": "boom"}]))


async def test_a_cut_ends_without_a_finish() -> None:
    assert await played(ScriptedProvider(["some", {"cut": True}, "never"])) == ["some"]


async def test_a_stall_lasts_until_it_is_closed() -> None:
    async with aclosing(ScriptedProvider(["some", {"stall": True}]).stream(request())) as parts:
        assert await anext(parts) == "some"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(parts), 0.05)


async def test_a_number_waits_and_says_nothing() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert (await played(ScriptedProvider([0.05, "x"])))[0] == "x"
    assert loop.time() - begun >= 0.04


async def test_prompts_have_scripts_of_their_own() -> None:
    provider = ScriptedProvider(["other"], scripts={"weather": ["sunny"]})
    assert (await played(provider, "weather"))[0] == "sunny"
    assert (await played(provider, "weather", "news"))[0] == "other"


async def test_a_function_chooses_the_script() -> None:
    provider = ScriptedProvider(lambda asked: [asked.messages[-1].content.upper()])
    assert (await played(provider, "shout"))[0] == "SHOUT"


async def test_without_a_script_the_prompt_is_quoted() -> None:
    parts = await within(played(ScriptedProvider(per_second=100_000), "What is this?"))
    assert "What is this?" in "".join(part for part in parts if isinstance(part, str))
    assert parts[-1] == Finish("stop")


async def test_calls_at_once_do_not_mix() -> None:
    provider = ScriptedProvider(lambda asked: [f"{asked.messages[-1].content}{number}" for number in range(5)])
    answers = await asyncio.gather(*[played(provider, name) for name in "abc"])
    assert [answer[:5] for answer in answers] == [[f"{name}{number}" for number in range(5)] for name in "abc"]


async def test_figures_may_hold_a_cost() -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, "cost": "0.25"}
    (found,) = [part for part in await played(ScriptedProvider([{"usage": usage}])) if isinstance(part, Usage)]
    assert Decimal(str(found.cost)) == Decimal("0.25")


@pytest.mark.parametrize("step", [{"txet": "x"}, {}, None, {"error": "no_such_code"}, {"error": "not_found"}], ids=str)
def test_a_wrong_step_is_told_when_the_script_is_given(step: Any) -> None:
    with pytest.raises(ValueError, match=r"step|code|key"):
        ScriptedProvider(["fine", step])
    with pytest.raises(ValueError, match=r"step|code|key"):
        ScriptedProvider(scripts={"prompt": [step]})


TOOLS = [
    {"tool": "add", "input": {"a": 1, "b": 2}, "id": "one"},
    {"next": True},
    "It is ",
    {"result": 0},
]


async def test_a_script_goes_on_behind_the_tools_and_sees_their_results() -> None:
    provider = ScriptedProvider(TOOLS)
    first = await ask(provider, "", ChatMessage("user", "Add"))
    call = ToolCall("one", "add", '{"a":1,"b":2}')
    assert (first[0], first[-1]) == (call, Finish("tool_calls"))
    turns = (
        ChatMessage("user", "Add"),
        ChatMessage("assistant", "", [call]),
        ChatMessage("tool", "3", tool_call_id="one"),
    )
    second = await ask(provider, "", *turns)
    assert (text(second), second[-1]) == ("It is 3", Finish("stop"))
    again = await ask(provider, "", *turns, ChatMessage("assistant", "It is 3"), ChatMessage("user", "Add"))
    assert again[0] == call


async def test_a_prompt_keeps_its_script_over_its_tools() -> None:
    provider = ScriptedProvider(scripts={"Add": TOOLS})
    turns = ChatMessage("user", "Add"), ChatMessage("assistant", "", [ToolCall("one", "add", "{}")])
    assert text(await ask(provider, "", *turns, ChatMessage("tool", "5", tool_call_id="one"))) == "It is 5"
