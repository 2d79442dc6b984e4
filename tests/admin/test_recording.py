"""Recordings: what was stored, when, and a script that plays it again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.test import AsyncClient, Client
from hypothesis import given
from hypothesis import strategies as st

from llmstream import access
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.exceptions import ProviderError, codes_of
from llmstream.http.handoff import StreamHandoff
from llmstream.models import Conversation, Event, Generation
from llmstream.providers.base import Finish, ProviderRequest, ReasoningDelta, Usage
from llmstream.providers.script import Wait, parse_script
from llmstream.recording import record, script_of
from tests.http.client import Call
from tests.support import Upstream, ask, asked, conversation, ended, site, stored, until, within

from .staff import ADMIN, VIEW, answered, body, finish, readings, say, signed_in, staff

pytestmark = pytest.mark.django_db
START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def timed(*seconds: float) -> Generation:
    """Return an ended generation of five events from its question to its end and two deltas, stored at these times."""
    sent = ask(conversation(), "Hi")
    say(sent.generation, "Hello ", "there")
    finish(sent)
    rows = Event.objects.filter(conversation=sent.conversation).order_by("seq")
    for row, second in zip(rows, seconds, strict=True):
        Event.objects.filter(pk=row.pk).update(created_at=START + timedelta(seconds=second))
    return Generation.objects.select_related("conversation").get(pk=sent.generation.pk)


def recorded(generation: Generation) -> list[dict[str, Any]]:
    """Return the recording."""
    return list(record(generation.conversation, generation))


def test_a_recording_has_every_event_with_its_time() -> None:
    generation = timed(0, 0, 0.1, 0.6, 1.35, 1.4, 1.4)
    records = recorded(generation)
    assert [item["time"] for item in records] == [0, 0, 0.1, 0.6, 1.35, 1.4, 1.4]
    assert [item["event"] for item in records] == [
        {name: value for name, value in event.items() if name != "seq"} for event in stored(generation.conversation)
    ]
    assert records[4]["created_at"] == "2026-05-01T12:00:01.350Z"
    assert records[4]["id"] == f"{generation.conversation.public_id}.1.000000000005"


def test_a_recording_leaves_other_generations_out() -> None:
    first = answered("Hi", "Hello")
    second = ask(first.conversation, "And?")
    say(second.generation, "More")
    third = finish(ask(first.conversation, "Queue", busy="queue"), "stopped")
    finish(second)
    found = Generation.objects.select_related("conversation").get(pk=second.generation.pk)
    assert {item["event"]["generation"] for item in recorded(found)} == {second.generation.public_id}
    assert third.generation.public_id not in json.dumps(recorded(found))


def test_a_long_recording_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmstream.recording._PER_QUERY", 3)
    sent = ask(conversation())
    say(sent.generation, *map(str, range(10)))
    finish(sent)
    found = Generation.objects.select_related("conversation").get(pk=sent.generation.pk)
    # Question, answer and start, the ten deltas, usage and end.
    assert [item["seq"] for item in recorded(found)] == list(range(1, 16))


def test_a_script_keeps_text_pace_and_end() -> None:
    script = script_of(recorded(timed(0, 0, 0.1, 0.6, 1.35, 1.4, 1.4)))
    assert script == [0.5, {"text": "Hello "}, 0.75, {"text": "there"}, 0.05, {"finish": "stop"}]


def end(status: str, **fields: Any) -> list[dict[str, Any]]:
    """Return a recording of nothing but an end."""
    return [{"time": 0, "event": {"type": "message-end", "status": status, "finish_reason": None, **fields}}]


def test_a_script_ends_as_the_answer_did() -> None:
    assert script_of(end("completed", finish_reason="length")) == [{"finish": "length"}]
    assert script_of(end("stopped")) == [{"stall": True}]
    assert script_of(end("interrupted")) == [{"cut": True}]
    assert script_of([]) == [{"stall": True}]
    error = {"code": "too_large", "message": "x"}
    assert script_of(end("failed", error=error)) == [{"raise": "The request is too large."}]
    for code in codes_of(ProviderError):
        assert script_of(end("failed", error={"code": code, "message": ""})) == [{"error": code}]


def test_a_script_has_figures_that_the_provider_sent_and_no_estimates() -> None:
    counts = {"input": 3, "output": 5, "reasoning": 1, "cached": 2, "cache_write": 0}
    usage = {"type": "usage", **counts, "cost": "0.001", "estimated": False}
    script = script_of([{"time": 0, "event": usage}])
    assert parse_script(script)[0] == Usage(3, 5, 1, 2, Decimal("0.001"))
    assert script_of([{"time": 0, "event": {**usage, "estimated": True}}]) == [{"stall": True}]


kinds = st.sampled_from(["text-delta", "reasoning-delta", "message-created"])
deltas = st.tuples(st.integers(0, 5_000), kinds, st.text(min_size=1, max_size=5))


@given(st.lists(deltas, max_size=12).map(sorted))
def test_any_recording_makes_a_script_that_can_be_read(told: list[tuple[int, str, str]]) -> None:
    start = {"time": 0.0, "event": {"type": "generation-start"}}
    records = [{"time": time / 1000, "event": {"type": kind, "delta": text}} for time, kind, text in told]
    script = parse_script(json.loads(json.dumps(script_of([start, *records]))))
    said = [step.text if isinstance(step, ReasoningDelta) else step for step in script if not isinstance(step, Wait)]
    shown = [(time, text) for time, kind, text in told if kind != "message-created"]
    assert said[:-1] == [text for _time, text in shown]
    waited = sum(step.seconds for step in script if isinstance(step, Wait))
    assert waited == pytest.approx(shown[-1][0] / 1000 if shown else 0)


@pytest.mark.django_db(transaction=True)
async def test_a_recorded_answer_can_be_given_again(running: Engine) -> None:
    async def original(request: ProviderRequest) -> Any:
        yield ReasoningDelta("Let me see.")
        for word in ("One ", "two ", "three: ", "naïve ☃ 你好"):
            yield word
        yield Usage(7, 11, 3, 2, Decimal("0.0125"))
        yield Finish("length")

    with site(original):
        first = await ended((await asked(running, "Count")).generation)
    script = await run_db(lambda: script_of(record(first.conversation, first)))
    entry = {
        "PROVIDER": "llmstream.providers.scripted.ScriptedProvider",
        "OPTIONS": {"script": [step for step in json.loads(json.dumps(script)) if not isinstance(step, float)]},
    }
    with site(models={"default": entry}):
        second = await ended((await asked(running, "Count")).generation)
    assert second.message.parts == first.message.parts
    assert second.finish_reason == first.finish_reason == "length"

    def same(conversation: Conversation) -> list[dict[str, Any]]:
        figures = ("input", "output", "reasoning", "cached", "cache_write", "cost", "estimated")
        kept = ("type", "delta", "part", *figures, "checksum")
        events = [{name: event[name] for name in kept if name in event} for event in stored(conversation)]
        return [event for event in events if event["type"] in ("usage", "message-end")]

    assert await run_db(same, first.conversation) == await run_db(same, second.conversation)


def test_downloads_are_files_of_records_and_of_a_script() -> None:
    client = signed_in(*VIEW, "view_content")
    generation = timed(0, 0, 0.1, 0.6, 1.35, 1.4, 1.4)
    address = f"{ADMIN}generation/{generation.pk}/"
    response = client.get(f"{address}recording.jsonl/")
    assert response["Content-Disposition"] == f'attachment; filename="{generation.public_id}.jsonl"'
    assert "no-store" in response["Cache-Control"]
    lines = [json.loads(line) for line in body(response).splitlines()]
    assert lines == recorded(generation)
    script = json.loads(body(client.get(f"{address}script.json/")))
    assert script == script_of(lines)


@pytest.mark.django_db(transaction=True)
async def test_downloads_under_asgi_are_the_same(asgi_client: AsyncClient) -> None:
    generation = await run_db(timed, 0, 0, 0.1, 0.6, 1.35, 1.4, 1.4)
    response: Any = await asgi_client.get(f"{ADMIN}generation/{generation.pk}/recording.jsonl/")
    content = b"".join([chunk async for chunk in response.streaming_content])
    assert [json.loads(line) for line in content.splitlines()] == await run_db(recorded, generation)


def test_the_player_plays_what_has_ended_and_follows_what_runs() -> None:
    client = signed_in(*VIEW, "view_content")
    sent = answered()
    html = body(client.get(f"{ADMIN}generation/{sent.generation.pk}/recording/"))
    assert f'data-recording="{ADMIN}generation/{sent.generation.pk}/recording.jsonl/"' in html
    assert "data-live" not in html
    # Under WSGI nothing streams: what has come so far is played.
    sent = ask(conversation())
    assert "data-live" not in body(client.get(f"{ADMIN}generation/{sent.generation.pk}/recording/"))
    assert client.get(f"{ADMIN}generation/{sent.generation.pk}/live/").status_code == 501
    assert client.get(f"{ADMIN}generation/0/recording/").status_code == 404


@pytest.mark.django_db(transaction=True)
async def test_a_running_generation_is_followed_to_its_end(running: Engine, asgi_client: AsyncClient) -> None:
    upstream = Upstream()
    with site(upstream):
        sent = await asked(running, "Hi")
        await within(upstream.called.wait())
        upstream.say("Hello ")
        page = f"{ADMIN}generation/{sent.generation.pk}/"
        html = (await asgi_client.get(f"{page}recording/")).content.decode()
        assert f'data-live="{page}live/"' in html
        call = Call(asgi_client, f"{page}live/", app=StreamHandoff(ASGIHandler()))
        reading = running.spawn(call())
        await until(lambda: b"event: snapshot" in call.body)
        upstream.say("there")
        upstream.finish()
        await within(reading)
    assert call.status == 200
    assert call.headers["content-type"].startswith("text/event-stream")
    assert b"there" in call.body
    assert call.body.rstrip().partition(b"event: message-end")[2]
    assert await run_db(readings, sent.conversation) == [f"Followed generation {sent.generation.public_id} live."]
    last = call.body.rstrip().rpartition(b"id: ")[2].decode()
    again = await asgi_client.get(f"{page}live/", headers={"Last-Event-ID": last})
    assert again.status_code == 204


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("grounds", ["view_generation", "change_generation"])
async def test_a_live_view_ends_with_the_permission_and_not_before(
    running: Engine, asgi_client: AsyncClient, grounds: str
) -> None:
    upstream = Upstream()
    await run_db(staff, "view_content", grounds)
    with site(upstream, ACCESS_INTERVAL=0.05):
        sent = await asked(running, "Hi")
        await within(upstream.called.wait())
        call = Call(asgi_client, f"{ADMIN}generation/{sent.generation.pk}/live/", app=StreamHandoff(ASGIHandler()))
        reading = running.spawn(call())
        await until(lambda: running.streams)
        [stream] = running.streams
        await access.review([stream])
        upstream.say("Hello")
        await until(lambda: b"Hello" in call.body)
        await run_db(staff, *VIEW)
        await access.review([stream])
        await within(reading)
        upstream.finish()
        await ended(sent.generation)
    assert b"event: message-end" not in call.body
    assert b"event: error" in call.body


def test_a_client_without_the_admin_sees_nothing() -> None:
    sent = answered()
    assert Client().get(f"{ADMIN}generation/{sent.generation.pk}/live/").status_code == 302


def test_records_are_lines_whatever_was_said() -> None:
    sent = ask(conversation())
    say(sent.generation, "line\nbreak\u2028and\u2029more\r\n")
    finish(sent)
    response = signed_in(*VIEW, "view_content").get(f"{ADMIN}generation/{sent.generation.pk}/recording.jsonl/")
    lines = b"".join(response.streaming_content).rstrip(b"\n").split(b"\n")  # type: ignore[attr-defined]
    assert len([orjson.loads(line) for line in lines]) == 6
