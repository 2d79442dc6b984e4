"""Tools at the services besides Chat Completions: what becomes of the calls that come."""

from __future__ import annotations

import asyncio
from itertools import chain, zip_longest
from typing import Any

import pytest

from llmstream.exceptions import ProviderMalformed, ProviderTruncated
from llmstream.providers import ChatMessage, Finish, Provider, ToolCall
from tests.upstream import FIN, GATE, RST, Upstream
from tests.upstream_gemini import content
from tests.upstream_responses import Background, lifecycle
from tests.upstream_wire import HEAD, Piece, http_chunk

from .asking import ask_with_tools, fail, request, text
from .services import SERVICES, Service
from .speeches import ANSWER, PIECEMEAL, SPEC, SPEECHES, A, B, Speech, calls, frames, script


@pytest.fixture(params=list(SERVICES))
def name(request: pytest.FixtureRequest) -> str:
    """Each of the services."""
    found: str = request.param
    return found


@pytest.fixture
def service(name: str) -> Service:
    """The service, by its name."""
    return SERVICES[name]


@pytest.fixture
def provider(service_provider: Provider) -> Provider:
    """The provider under test."""
    return service_provider


@pytest.fixture
def speech(name: str) -> Speech:
    """How the service says things."""
    return SPEECHES[name]


async def test_a_call_comes_whole(upstream: Upstream, service: Service, provider: Provider, speech: Speech) -> None:
    script(upstream, service, *speech.call(0, A, [A.arguments]), *speech.end([A]))
    assert calls(await ask_with_tools(provider, specs=[SPEC])) == [A, Finish("tool_calls")]


@pytest.mark.parametrize("name", PIECEMEAL, indirect=True)
@pytest.mark.parametrize("size", [0, 1, 7, 1000])
async def test_arguments_come_in_pieces(
    upstream: Upstream, service: Service, provider: Provider, speech: Speech, size: int
) -> None:
    events = [*speech.call(0, A, list(A.arguments)), *speech.call(1, B, list(B.arguments)), *speech.end([A, B])]
    script(upstream, service, *events, size=size)
    assert calls(await ask_with_tools(provider, specs=[SPEC])) == [A, B, Finish("tool_calls")]


async def test_two_calls_of_one_step(upstream: Upstream, service: Service, provider: Provider, speech: Speech) -> None:
    one, two = (speech.call(index, call, list(call.arguments)) for index, call in enumerate([A, B], 1))
    interleaved = [event for event in chain(*zip_longest(one, two)) if event]
    script(upstream, service, *interleaved, *speech.end([A, B]))
    assert calls(await ask_with_tools(provider, specs=[SPEC])) == [A, B, Finish("tool_calls")]


async def test_calls_follow_all_of_the_text(
    upstream: Upstream, service: Service, provider: Provider, speech: Speech
) -> None:
    before, between, after = (service.dialect.token(said, ANSWER) for said in ("one ", "two ", "three"))
    events = [*before, *speech.call(1, A, [A.arguments]), *between, *speech.call(3, B, [B.arguments]), *after]
    script(upstream, service, *events, *speech.end([A, B]))
    parts = await ask_with_tools(provider, specs=[SPEC])
    assert text(parts) == "one two three"
    said = [part for part in parts if isinstance(part, str | ToolCall)]
    assert said[-2:] == [A, B]
    assert calls(parts) == [A, B, Finish("tool_calls")]


@pytest.mark.parametrize("how", [RST, FIN])
async def test_a_cut_leaves_no_call(
    upstream: Upstream, service: Service, provider: Provider, speech: Speech, how: str
) -> None:
    events = [*service.dialect.token("text", ANSWER), *speech.call(1, A, [A.arguments])]
    events += speech.call(2, B, [B.arguments[:5], B.arguments[5:]])
    data = b"".join(frames(service, *events))
    first = len(b"".join(frames(service, *events[:1])))
    for at in (first + 20, (first + len(data)) // 2, len(data) - 30, len(data)):
        upstream.script = [HEAD, http_chunk(data[:at]), GATE, how]
        (parts, error), _ = await asyncio.gather(fail(provider, "script"), upstream.pass_gate())
        assert type(error) is ProviderTruncated
        assert (text(parts), calls(parts)) == ("text", [])


async def test_an_orderly_end_without_finish_leaves_no_call(
    upstream: Upstream, service: Service, provider: Provider, speech: Speech
) -> None:
    events = speech.call(0, A, [A.arguments])
    for count in range(1, len(events) + 1):
        script(upstream, service, *events[:count])
        assert calls(await ask_with_tools(provider, specs=[SPEC])) == []


@pytest.mark.parametrize("name", PIECEMEAL, indirect=True)
@pytest.mark.parametrize("arguments", ['{"a": ', '["a"]', "nonsense", '{"a": 1}}'])
async def test_arguments_that_are_no_object_are_left_to_the_caller(
    upstream: Upstream, service: Service, provider: Provider, speech: Speech, arguments: str
) -> None:
    broken = ToolCall("call_a", "add", arguments)
    events = [*speech.call(0, broken, [arguments[:2], arguments[2:]]), *speech.call(1, B, [B.arguments])]
    script(upstream, service, *events, *speech.end([broken, B]))
    assert calls(await ask_with_tools(provider, specs=[SPEC])) == [broken, B, Finish("tool_calls")]


@pytest.mark.parametrize("name", PIECEMEAL, indirect=True)
async def test_a_call_that_the_length_limit_has_cut_is_none(
    upstream: Upstream, service: Service, provider: Provider, speech: Speech
) -> None:
    half = [event for event in speech.call(1, B, [B.arguments[:5]]) if not event["type"].endswith(("done", "stop"))]
    script(upstream, service, *speech.call(0, A, [A.arguments]), *half, *speech.limit)
    assert calls(await ask_with_tools(provider, specs=[SPEC])) == [A, Finish("length")]


async def test_a_call_may_have_no_arguments(
    upstream: Upstream, service: Service, provider: Provider, name: str, speech: Speech
) -> None:
    now = ToolCall("call_a", "now", "")
    script(upstream, service, *speech.call(0, now, ["{}"] if name == "gemini" else []), *speech.end([now]))
    assert calls(await ask_with_tools(provider, specs=[SPEC])) == [
        ToolCall("call_a", "now", "{}"),
        Finish("tool_calls"),
    ]


@pytest.mark.parametrize("name", PIECEMEAL, indirect=True)
async def test_arguments_without_end_are_malformed(
    upstream: Upstream, service: Service, provider: Provider, speech: Speech
) -> None:
    script(upstream, service, *speech.call(0, A, ["x" * 600_000] * 2), *speech.end([A]))
    parts, error = await fail(provider, "script")
    assert (calls(parts), type(error)) == ([], ProviderMalformed)


@pytest.mark.parametrize("cursor", range(-1, 9))
async def test_a_background_answer_may_be_taken_up_in_a_call(upstream: Upstream, cursor: int) -> None:
    service, speech = SERVICES["responses"], SPEECHES["responses"]
    events = [*service.dialect.begin(ANSWER), *speech.call(1, A, ['{"a"', ":1}"]), *speech.call(2, B, [B.arguments])]
    numbered = [{**event, "sequence_number": at} for at, event in enumerate([*events, *speech.end([A, B])])]
    pieces = [(0.0, Piece([service.dialect.frame(event)])) for event in numbered]
    upstream.backgrounds["resp_1"] = Background("resp_1", ANSWER, pieces)
    provider = SERVICES["responses"].make(upstream, background=True)
    parts = [part async for part in provider.resume(request(), "resp_1", cursor)]  # type: ignore[attr-defined]
    assert calls(parts) == [A, B, Finish("tool_calls")]
    await provider.aclose()


async def test_a_service_may_leave_the_calls_out_of_the_response_itself(upstream: Upstream) -> None:
    service, speech = SERVICES["responses"], SPEECHES["responses"]
    script(upstream, service, *speech.call(1, A, [A.arguments]), lifecycle("response.completed", "completed"))
    provider = service.make(upstream)
    assert calls(await ask_with_tools(provider)) == [A, Finish("tool_calls")]
    await provider.aclose()


async def test_a_whole_input_may_stand_in_the_start_of_a_block(upstream: Upstream) -> None:
    service, speech = SERVICES["anthropic"], SPEECHES["anthropic"]
    start, *_ = speech.call(0, A, [])
    start["content_block"]["input"] = {"a": 1}
    script(upstream, service, start, *speech.end([A]))
    provider = service.make(upstream)
    assert calls(await ask_with_tools(provider)) == [A, Finish("tool_calls")]
    await provider.aclose()


async def test_calls_without_ids_are_matched_by_their_order(upstream: Upstream) -> None:
    service, speech = SERVICES["gemini"], SPEECHES["gemini"]
    nameless = ToolCall("", "add", A.arguments)
    script(upstream, service, *speech.call(0, nameless, [A.arguments]), *speech.end([]))
    provider = service.make(upstream)
    history = [ChatMessage("assistant", "", [nameless]), ChatMessage("tool", "1")]
    parts = await ask_with_tools(provider, ChatMessage("user", "Add."), *history, specs=[SPEC])
    assert calls(parts) == [nameless, Finish("tool_calls")]
    called, returned = (turn["parts"][0] for turn in upstream.exchanges[-1].body["contents"][1:])
    assert called["functionCall"] == {"name": "add", "args": {"a": 1}}
    assert returned["functionResponse"] == {"name": "add", "response": {"output": "1"}}
    await provider.aclose()


@pytest.mark.parametrize(
    "broken",
    [
        {"name": "add", "args": "text"},
        {"args": {"a": 1}},
        {"name": "add", "willContinue": True},
        {"name": "add", "partialArgs": [{"jsonPath": "$.a", "numberValue": 1}]},
    ],
)
async def test_calls_of_another_shape_are_malformed(upstream: Upstream, broken: dict[str, Any]) -> None:
    service = SERVICES["gemini"]
    script(upstream, service, content({"functionCall": broken}), content(finish="STOP"))
    provider = service.make(upstream)
    parts, error = await fail(provider, "script")
    assert (calls(parts), type(error)) == ([], ProviderMalformed)
    await provider.aclose()
