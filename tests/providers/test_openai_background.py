"""``OpenAIResponsesProvider`` in the background: lost connections, other processes, and ends that the caller makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from llmstream.exceptions import ProviderMalformed, ProviderRejected, ProviderTimeout, ProviderTruncated
from llmstream.providers import Cursor, Finish, Provider, ProviderPart, ResponseStarted, ResumableProvider, Usage
from llmstream.providers.openai_responses import OpenAIResponsesProvider
from tests.upstream import END, GATE, RST, Upstream
from tests.upstream_responses import lifecycle, text_delta
from tests.upstream_wire import HEAD, http_chunk, named_event

from .asking import ask, fail, of_type, request, text
from .services import KEY

LONG = "answer?tokens=1000&rate=100"


def tokens(count: int) -> str:
    """Return the text of so many tokens."""
    return "".join(f"tok{number} " for number in range(count))


def made(upstream: Upstream, **options: Any) -> OpenAIResponsesProvider:
    """Return a provider as another process would have it."""
    return OpenAIResponsesProvider(base_url=upstream.url, api_key=KEY, background=True, **options)


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[OpenAIResponsesProvider]:
    """The provider under test."""
    found = made(upstream)
    yield found
    await found.aclose()


async def first(provider: Provider, count: int, model: str, said: str = "") -> list[ProviderPart]:
    """Return the parts of an answer as far as its first so many cursors and this text, and close it."""
    found: list[ProviderPart] = []
    async with aclosing(provider.stream(request(model))) as parts:
        async for part in parts:
            found.append(part)
            if isinstance(part, Cursor) and len(of_type(found, Cursor)) >= count and said in text(found):
                break
    return found


def commands(upstream: Upstream) -> list[str]:
    """Return what was asked of the service, in order."""
    return [f"{exchange.method} {exchange.path}" for exchange in upstream.exchanges]


async def test_a_background_call_says_so(upstream: Upstream, provider: OpenAIResponsesProvider) -> None:
    assert isinstance(provider, ResumableProvider)
    parts = await ask(provider, "answer")
    assert upstream.exchanges[0].body["background"] is True
    assert (parts[0], text(parts), of_type(parts, Finish)) == (ResponseStarted("resp_1"), tokens(5), [Finish("stop")])
    assert of_type(parts, Usage) == [Usage(11, 5, cached_tokens=4)]
    assert commands(upstream) == ["POST /v1/responses"]


async def test_each_cursor_says_which_event_was_the_last(upstream: Upstream, provider: OpenAIResponsesProvider) -> None:
    events = [lifecycle("response.created"), text_delta("a"), text_delta("b"), text_delta("c")]
    events = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    last = {**lifecycle("response.completed", "completed"), "sequence_number": 4}
    one, two, three, four = map(named_event, events)
    upstream.script = [HEAD, http_chunk(one), GATE, http_chunk(two + three + four[:-9]), GATE]
    upstream.script += [http_chunk(four[-9:]), GATE, http_chunk(named_event(last)), END]
    found: list[ProviderPart] = []
    async for part in provider.stream(request("script")):
        found.append(part)
        if isinstance(part, Cursor) and part.sequence < 4:
            await upstream.pass_gate()
    assert found == [
        *(ResponseStarted("resp_upstream"), Cursor(0)),
        *("ab", Cursor(2)),
        *("c", Cursor(3)),
        *(Finish("stop"), Cursor(4)),
    ]


async def test_the_end_can_be_heard_again_without_what_came_before(
    upstream: Upstream, provider: OpenAIResponsesProvider
) -> None:
    parts = await ask(provider, "answer?tokens=3&joined=1")
    last, before = [cursor.sequence for cursor in of_type(parts, Cursor)][::-1]
    assert last == before + 1
    assert text(parts[: parts.index(Cursor(before))]) == tokens(3)
    again = [part async for part in made(upstream).resume(request("answer"), "resp_1", before)]
    assert again == [Usage(11, 3, cached_tokens=4), Finish("stop"), Cursor(last)]


@pytest.mark.parametrize("how", ["rst", "fin"])
@pytest.mark.parametrize("size", [1, 300, 777, 1100, 1350, 1600, 1750])
async def test_a_lost_connection_is_taken_up_where_it_broke(
    upstream: Upstream, provider: OpenAIResponsesProvider, how: str, size: int
) -> None:
    model = f"cut?tokens=8&rate=200&bytes={size}&how={how}&gate=1"
    if size < 300:
        (parts, error), _ = await asyncio.gather(fail(provider, model), upstream.pass_gate())
        assert type(error) is ProviderTruncated  # It was lost before it had an id, so there is nothing to be taken up.
        return
    parts, _ = await asyncio.gather(ask(provider, model), upstream.pass_gate())
    assert text(parts) == tokens(8)
    assert of_type(parts, ResponseStarted) == [ResponseStarted("resp_1")]
    assert of_type(parts, Finish) == [Finish("stop")]
    cursors = [cursor.sequence for cursor in of_type(parts, Cursor)]
    assert cursors == sorted(set(cursors))
    assert [exchange.method for exchange in upstream.exchanges] == ["POST", "GET"]
    assert len(upstream.backgrounds) == 1


async def test_connections_may_be_lost_again_and_again_as_long_as_there_is_progress(
    upstream: Upstream, provider: OpenAIResponsesProvider
) -> None:
    asking = asyncio.create_task(ask(provider, "cut?tokens=10&rate=200&after=1&faults=9&gate=1"))
    for _ in range(9):
        await upstream.pass_gate()
    assert text(await asking) == tokens(10)
    assert len(upstream.exchanges) == 10


async def test_a_silent_connection_is_given_up_for_another(upstream: Upstream) -> None:
    provider = made(upstream, read_timeout=1.0)
    assert text(await ask(provider, "silent?tokens=8&rate=200")) == tokens(8)
    assert len(upstream.exchanges) == 2
    await provider.aclose()


async def test_without_progress_there_is_an_end_to_it(upstream: Upstream) -> None:
    provider = made(upstream, read_timeout=1.0)
    parts, error = await fail(provider, "answer?tokens=2&first=30")
    assert (text(parts), type(error)) == ("", ProviderTimeout)
    await provider.aclose()
    assert [exchange.method for exchange in upstream.exchanges] == ["POST", "GET", "GET", "POST"]
    assert commands(upstream)[-1] == "POST /v1/responses/resp_1/cancel"


async def test_a_service_that_does_not_let_us_back_in_has_cut_the_answer(upstream: Upstream) -> None:
    provider = made(upstream)
    created = named_event({**lifecycle("response.created"), "sequence_number": 0})
    delta = named_event({**text_delta("before"), "sequence_number": 1})
    upstream.script = [HEAD, http_chunk(created + delta), GATE, RST]
    (parts, error), _ = await asyncio.gather(fail(provider, "script"), upstream.pass_gate())
    assert (text(parts), type(error)) == ("before", ProviderTruncated)
    assert error.__context__ is None
    assert [exchange.method for exchange in upstream.exchanges].count("GET") == 1
    await provider.aclose()


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_another_process_goes_on_after_any_cursor(upstream: Upstream, count: int) -> None:
    one, other = made(upstream), made(upstream)
    # The first one hears no more, however late it reads.
    model = f"silent?tokens=20&rate=100&after={count}"
    one.detach("resp_1")
    before = await first(one, 1, model, tokens(count))
    cursor = of_type(before, Cursor)[-1].sequence
    async with aclosing(other.resume(request(model), "resp_1", cursor)) as parts:
        after = [part async for part in parts]
    assert text(before) + text(after) == tokens(20)
    assert of_type(after, ResponseStarted) == []
    assert of_type(after, Finish) == [Finish("stop")]
    assert of_type(after, Usage) == [Usage(11, 20, cached_tokens=4)]
    assert upstream.backgrounds["resp_1"].generated == 20
    assert commands(upstream) == ["POST /v1/responses", f"GET /v1/responses/resp_1?starting_after={cursor}&stream=true"]
    await one.aclose()
    await other.aclose()


async def test_all_of_an_answer_can_be_read_again(upstream: Upstream, provider: OpenAIResponsesProvider) -> None:
    await ask(provider, "answer")
    parts = [part async for part in provider.resume(request("answer"), "resp_1", -1)]
    assert text(parts) == tokens(5)
    assert commands(upstream)[-1] == "GET /v1/responses/resp_1?stream=true"


async def test_what_a_service_says_again_is_left_out(upstream: Upstream, provider: OpenAIResponsesProvider) -> None:
    await ask(provider, "answer?tokens=3")
    whole = upstream.backgrounds["resp_1"].events
    upstream.backgrounds["resp_1"].events = [whole[0], *whole]  # so that the service begins one event early
    parts = [part async for part in provider.resume(request("answer"), "resp_1", 2)]
    assert text(parts) == "tok1 tok2 "


@pytest.mark.parametrize("expired", [True, False])
async def test_an_answer_that_the_service_has_no_longer_is_rejected(
    upstream: Upstream, provider: OpenAIResponsesProvider, expired: bool
) -> None:
    await ask(provider, "answer")
    upstream.backgrounds["resp_1"].expired = expired
    with pytest.raises(ProviderRejected):
        await anext(provider.resume(request("answer"), "resp_1" if expired else "resp_9", 3))
    await provider.aclose()
    assert [exchange.method for exchange in upstream.exchanges] == ["POST", "GET"]


async def test_closing_a_stream_cancels_its_answer(upstream: Upstream, provider: OpenAIResponsesProvider) -> None:
    await first(provider, 3, LONG)
    await _assert_cancelled(upstream, provider)


async def test_closing_a_resumed_stream_cancels_its_answer(
    upstream: Upstream, provider: OpenAIResponsesProvider
) -> None:
    provider.detach("resp_1")
    before = await first(provider, 3, LONG)
    await provider.aclose()
    assert upstream.backgrounds["resp_1"].cancelled is None
    stream = provider.resume(request(LONG), "resp_1", of_type(before, Cursor)[-1].sequence)
    await anext(stream)
    await stream.aclose()
    await _assert_cancelled(upstream, provider, connections=2)


async def test_a_cancelled_task_cancels_its_answer(upstream: Upstream, provider: OpenAIResponsesProvider) -> None:
    task = asyncio.create_task(ask(provider, LONG))
    exchange = await asyncio.to_thread(upstream.wait, 1)
    await asyncio.to_thread(upstream.wait_tokens, exchange, 3)
    task.cancel()
    await asyncio.wait([task])
    await _assert_cancelled(upstream, provider)


async def test_an_answer_is_cancelled_even_if_it_has_no_id_yet(
    upstream: Upstream, provider: OpenAIResponsesProvider
) -> None:
    task = asyncio.create_task(ask(provider, LONG))
    await asyncio.to_thread(upstream.wait, 1)
    task.cancel()  # The head of the response may or may not be there.
    await asyncio.wait([task])
    await _assert_cancelled(upstream, provider)


async def test_an_answer_of_which_nothing_malformed_can_be_read_is_cancelled(
    upstream: Upstream, provider: OpenAIResponsesProvider
) -> None:
    parts, error = await fail(provider, "broken")
    assert (text(parts), type(error)) == ("tok0 tok1 ", ProviderMalformed)
    await provider.aclose()
    assert commands(upstream)[-1] == "POST /v1/responses/resp_1/cancel"


@pytest.mark.parametrize("model", ["answer", "error", "answer?finish=content_filter", "status?code=401"])
async def test_an_answer_that_is_over_is_not_cancelled(
    upstream: Upstream, provider: OpenAIResponsesProvider, model: str
) -> None:
    await asyncio.gather(ask(provider, model), return_exceptions=True)
    await provider.aclose()
    assert commands(upstream) == ["POST /v1/responses"]


async def test_cancelling_twice_does_no_harm(upstream: Upstream, provider: OpenAIResponsesProvider) -> None:
    provider.detach("resp_1")
    await first(provider, 2, LONG)
    await provider.cancel("resp_1")
    ended = upstream.backgrounds["resp_1"].cancelled
    await provider.cancel("resp_1")
    assert ended is not None
    assert upstream.backgrounds["resp_1"].cancelled == ended
    with pytest.raises(ProviderRejected):
        await provider.cancel("resp_9")


async def _assert_cancelled(upstream: Upstream, provider: OpenAIResponsesProvider, *, connections: int = 1) -> None:
    await provider.aclose()
    answer = upstream.backgrounds["resp_1"]
    assert answer.cancelled is not None
    assert answer.generated < 1000
    assert answer.connections == connections
    assert commands(upstream)[-1] == "POST /v1/responses/resp_1/cancel"
    await asyncio.to_thread(upstream.wait_closed)
    stream = upstream.exchanges[0]
    assert stream.disconnected is not None or stream.finished is not None
