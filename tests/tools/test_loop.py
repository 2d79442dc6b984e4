"""The loop over several model calls: what is asked for, what is run, what the model and the readers get of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import orjson
import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.endings import stop
from llmstream.models import Conversation, Generation, ToolCall, UsageRecord
from llmstream.providers.base import Finish, ProviderRequest
from llmstream.providers.base import ToolCall as Asked
from llmstream.snapshot import state
from tests.support import ask_in, asked, check_log, ended, site, stored_one, text_of, types, until, user
from tests.tools.site import CANCELLED, agent, order, orders

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

ALL = (
    *("add", "fail", "report", "wipe", "pay", "count_users", "hang", "big", "odd"),
    *("endless", "leave", "leave_thread"),
)


class Recorded:
    """Plays ``orders`` and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[ProviderRequest] = []

    def __call__(self, request: ProviderRequest) -> AsyncGenerator[Any, None]:
        """Play the model."""
        self.requests.append(request)
        return orders(request)


def results(parts: list[dict[str, Any]]) -> list[Any]:
    """Return what each tool part came to: its output, or the code of its error."""
    return [part["output"] if "output" in part else part["error"]["code"] for part in parts if part["type"] == "tool"]


async def test_tools_run_side_by_side_and_the_model_gets_their_results(running: Engine) -> None:
    recorded = Recorded()
    steps = [[("add", {"a": 1, "b": 2}), ("fail", {}), ("report", {"steps": 3})], [("add", {"a": 3, "b": 4})]]
    with site(models={"default": agent(*ALL, script=recorded)}):
        sent = await asked(running, order(*steps), author=await run_db(user))
        generation = await ended(sent.generation)
        events = await run_db(check_log, sent.conversation)
    assert (generation.status, generation.finish_reason) == ("completed", "stop")
    told = {"user": sent.message.author_id, "conversation": generation.conversation.public_id}
    parts = generation.message.parts
    assert results(parts) == [3, "tool_failed", {**told, "generation": generation.public_id}, 7]
    kinds = ["text", "tool", "tool", "tool", "data", "text", "tool", "text"]
    assert [part["type"] for part in parts] == kinds
    assert parts[4] == {"type": "data", "name": "chart", "data": {"bars": [0, 1, 2]}}
    assert [event["progress"] for event in events if event["type"] == "tool-progress"] == [
        {"step": 1},
        {"step": 2},
        {"step": 3},
    ]
    assert "secret" not in str(events)
    first, second, third = recorded.requests
    assert [spec.name for spec in first.tools] == list(ALL)
    assert first.tools[0].parameters["required"] == ["a", "b"]
    assert [turn.role for turn in third.messages] == ["user", "assistant", "tool", "tool", "tool", "assistant", "tool"]
    assert [call.id for call in second.messages[1].tool_calls] == ["call_0_0", "call_0_1", "call_0_2"]
    assert second.messages[1].content == "Step 1. "
    assert (second.messages[2].tool_call_id, second.messages[2].content) == ("call_0_0", "3")
    assert orjson.loads(second.messages[3].content)["error"]["code"] == "tool_failed"


async def test_every_model_call_is_in_the_ledger(running: Engine) -> None:
    with site(models={"default": agent("add")}):
        sent = await asked(running, order([("add", {"a": 1, "b": 1})], [("add", {"a": 1, "b": 1})]))
        await ended(sent.generation)
        events = await run_db(check_log, sent.conversation)
    told = [(event["input"], event["output"], event["estimated"]) for event in events if event["type"] == "usage"]
    assert told == [(10, 3, False), (20, 3, False), (30, 5, False)]
    assert await run_db(ledger, sent.generation) == told


def ledger(generation: Generation) -> list[tuple[int, int, bool]]:
    """Return the figures of a generation's calls."""
    rows = UsageRecord.objects.filter(generation=generation).order_by("pk")
    return list(rows.values_list("input_tokens", "output_tokens", "estimated"))


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("nothing", {}, "tool_unknown"),
        ("add", {"a": 1}, "tool_invalid_input"),
        ("add", {"a": "x", "b": 1}, "tool_invalid_input"),
        ("add", {"a": 1, "b": 1, "c": 1}, "tool_invalid_input"),
        ("add", "{", "tool_invalid_input"),
        ("add", "[1, 2]", "tool_invalid_input"),
        ("add", '"' + "x" * 70_000 + '"', "tool_invalid_input"),
        ("fail", {"text": "no such city"}, "tool_failed"),
        ("hang", {}, "tool_timeout"),
        ("big", {"size": 100_000}, "tool_failed"),
        ("odd", {}, "tool_failed"),
        ("add", '{"a": ' + "[" * 251 + "]" * 251 + ', "b": 1}', "tool_invalid_input"),
        ("add", '{"a": ' + "[" * 300 + "]" * 300 + ', "b": 1}', "tool_invalid_input"),
        ("add", '{"a": ' + "[" * 900 + "]" * 900 + ', "b": 1}', "tool_invalid_input"),
        ("endless", {}, "tool_failed"),
        ("leave", {}, "tool_failed"),
        ("leave_thread", {}, "tool_failed"),
    ],
)
async def test_a_call_that_cannot_be_made_fails_by_itself(running: Engine, name: str, given: Any, code: str) -> None:
    with site(models={"default": agent(*ALL)}):
        sent = await asked(running, order([(name, given), ("add", {"a": 1, "b": 1})]))
        generation = await ended(sent.generation)
        await run_db(check_log, sent.conversation)
        assert orjson.dumps(await run_db(state, generation.conversation))
    assert generation.status == "completed"
    assert results(generation.message.parts) == [code, 2]
    rows = await run_db(lambda: list(ToolCall.objects.order_by("pk").values_list("status", "error")))
    assert rows == [("failed", code), ("done", "")]


async def test_what_a_tool_says_of_its_failure_reaches_the_model_and_nothing_else_does(running: Engine) -> None:
    with site(models={"default": agent("fail")}):
        sent = await asked(running, order([("fail", {"text": "no such city"}), ("fail", {})]))
        parts = (await ended(sent.generation)).message.parts
    told = [part["error"]["message"] for part in parts if part["type"] == "tool"]
    assert told == ["no such city", "The tool failed."]


async def test_a_plain_function_runs_in_a_thread_of_its_own_and_may_use_the_database(running: Engine) -> None:
    await run_db(user)
    with site(models={"default": agent("count_users")}):
        sent = await asked(running, order([("count_users", {})]))
        generation = await ended(sent.generation)
        events = await run_db(check_log, sent.conversation)
    assert results(generation.message.parts) == ["1 users"]
    threads = [event["progress"] for event in events if event["type"] == "tool-progress"]
    assert [name.startswith("llmstream-tool") for name in threads] == [True]


async def test_a_model_that_never_stops_asking_is_stopped(running: Engine) -> None:
    with site(models={"default": agent("add")}, MAX_STEPS=3):
        sent = await asked(running, order(*[[("add", {"a": 1, "b": 1})]] * 5))
        generation = await ended(sent.generation)
        await run_db(check_log, sent.conversation)
        assert len(await run_db(ledger, sent.generation)) == 3
    assert (generation.status, generation.finish_reason) == ("completed", "tool_calls")
    assert [part.get("output") for part in generation.message.parts if part["type"] == "tool"] == [2, 2, None]
    assert await run_db(lambda: list(ToolCall.objects.order_by("pk").values_list("status", flat=True))) == [
        "done",
        "done",
        "failed",
    ]


async def test_a_model_that_asks_for_too_much_at_once_has_failed(running: Engine) -> None:
    with site(models={"default": agent("add")}, MAX_TOOL_CALLS=2):
        sent = await asked(running, order([("add", {"a": 1, "b": 1})] * 3))
        generation = await ended(sent.generation)
        await run_db(check_log, sent.conversation)
    assert (generation.status, generation.error_code) == ("failed", "provider_malformed")


async def test_ids_that_are_not_clean_or_not_unique_become_ours(running: Engine) -> None:
    async def sloppy(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        if request.messages[-1].role == "tool":
            yield Finish("stop")
            return
        for identity in ("same", "same", "", "a b", "x" * 65):
            yield Asked(identity, "add", '{"a": 1, "b": 1}')
        yield Finish("stop")  # as some services say although there are calls

    with site(models={"default": agent("add", script=sloppy)}):
        generation = await ended((await asked(running)).generation)
    calls = [part["call"] for part in generation.message.parts]
    assert calls[0] == "same"
    assert len(set(calls)) == 5
    assert [len(call) for call in calls[1:]] == [22] * 4


async def test_a_stop_while_a_tool_runs_ends_both(running: Engine) -> None:
    with site(models={"default": agent("hang_on")}, POLL_INTERVAL=60.0):
        sent = await asked(running, order([("hang_on", {})]))
        await stored_one(sent.conversation, "tool-progress")
        await run_db(stop, sent.generation.pk)
        await until(lambda: CANCELLED.count(sent.generation.public_id) == 1 and not running.runs)
        generation = await ended(sent.generation)
        events = await run_db(check_log, sent.conversation)
        assert await run_db(ledger, sent.generation) == [(10, 3, False)]
    assert generation.status == "stopped"
    assert types(events)[-4:] == ["tool-call", "usage", "tool-progress", "message-end"]
    assert text_of(events) == "Step 1. "


async def test_the_next_prompt_s_history_has_the_tools_in_it(running: Engine) -> None:
    recorded = Recorded()
    with site(models={"default": agent("add", script=recorded)}):
        first = await asked(running, order([("add", {"a": 1, "b": 2})]))
        await ended(first.generation)
        second = await ask_in(running, first.conversation, order())
        await ended(second.generation)
    turns = recorded.requests[-1].messages
    assert [turn.role for turn in turns] == ["user", "assistant", "tool", "assistant", "user"]
    assert turns[1].tool_calls[0] == Asked("call_0_0", "add", '{"a":1,"b":2}')
    assert (turns[2].content, turns[3].content) == ("3", "Step 2. Done.")


async def test_numbers_beyond_64_bits_leave_the_conversation_readable(running: Engine) -> None:
    with site(models={"default": agent("add", "give")}):
        sent = await asked(running, order([("add", '{"a": 1e25, "b": 100000000000000000000}'), ("give", {})]))
        generation = await ended(sent.generation)
        found = await run_db(Conversation.objects.get, pk=sent.conversation.pk)
        shown = orjson.loads(orjson.dumps(await run_db(state, found)))
        assert shown["messages"][1]["parts"][2]["output"] == 1e30
        assert shown["messages"][1]["parts"][1]["input"] == {"a": 1e25, "b": 1e20}
        assert (await ended((await ask_in(running, found, order())).generation)).status == "completed"
    assert generation.status == "completed"
