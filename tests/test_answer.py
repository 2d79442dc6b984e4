"""An answer is the same whether it is grown by its run or folded from the log, and a client can follow it."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from llmstream.answer import Answer, is_waiting, plain_text
from llmstream.events import PART_KINDS, WireEvent, delta, encode
from llmstream.generations.teller import RunTeller
from llmstream.generations.transcript import transcript
from llmstream.log.rows import Row
from llmstream.log.writer import Lane
from llmstream.providers.base import ChatMessage, ToolCall

IDS = {"message": "m", "generation": "g"}
AUTHOR = {"id": "1", "name": "ann"}


class Tape:
    """Takes events as a lane does."""

    def __init__(self) -> None:
        self.events: list[WireEvent] = []

    def append(self, event: WireEvent, store: Any = None) -> None:
        """Keep the event."""
        self.events.append(event)


def play(acts: list[tuple[str, Any]]) -> tuple[Answer, list[WireEvent]]:
    """Let a run do the acts; return its answer and the events."""
    answer, tape = Answer(), Tape()
    teller = RunTeller(cast(Lane, tape), answer, **IDS)
    open_calls: list[str] = []
    for kind, value in acts:
        if kind in PART_KINDS:
            tape.append(delta(kind, "m", "g", answer.grow(kind, value), value))
        elif kind == "tool-call":
            open_calls.append(call := teller.call_id(f"call{len(tape.events)}"))
            teller.tell(kind, call=call, tool="add", input=value, step=len(answer.calls) + 1)
        elif kind in ("tool-progress", "tool-approval-request", "tool-result") and open_calls:
            _with_call(teller, kind, open_calls, value)
        elif kind == "phase":
            teller.tell(kind, name="n", detail=str(value))
        elif kind == "data":
            teller.tell(kind, name="n", data=value)
        elif kind == "steer":
            tape.append({"type": kind, **IDS, "steer": f"s{value}", "content": f"c{value}", "author": AUTHOR})
        elif kind == "steer-accepted" and f"s{value}" not in answer.taken:
            teller.tell(kind, steer=f"s{value}", content=f"c{value}", author=AUTHOR)
        elif kind == "usage":
            figures = {"input": 1, "output": 1, "reasoning": 0, "cached": 0, "cost": None, "estimated": False}
            teller.tell(kind, **figures)
    return answer, tape.events


def _with_call(teller: RunTeller, kind: str, open_calls: list[str], value: Any) -> None:
    call = open_calls[0]
    if kind == "tool-progress":
        teller.tell(kind, call=call, progress=value)
    elif kind == "tool-approval-request":
        teller.tell(kind, call=call, tool="add", input=None, expires_at="later")
        if value % 2:
            teller.tell("tool-approval-response", call=call, decision="approve", by=AUTHOR)
    elif value % 2:
        teller.tell(kind, call=open_calls.pop(0), tool="add", output=value)
    else:
        teller.tell(kind, call=open_calls.pop(0), tool="add", error={"code": "tool_failed", "message": "No"})


KINDS = (
    *("tool-call", "tool-progress", "tool-approval-request", "tool-result", "phase", "data"),
    *("steer", "steer-accepted", "usage"),
)
ACTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(sorted(PART_KINDS)), st.text(min_size=1, max_size=3)),
        st.tuples(st.sampled_from(KINDS), st.integers(0, 5)),
    ),
    max_size=30,
)


def rows_of(events: list[WireEvent]) -> list[Row]:
    """Return events as the log has them, among those of another generation."""
    rows = [Row(seq, event["type"], 1, encode(event)) for seq, event in enumerate(events, 1)]
    foreign = encode({**delta("text-delta", "m", "h", 0, "x")})
    return [row for found in rows for row in (found, found._replace(generation=2, type="text-delta", data=foreign))]


def follow(events: list[WireEvent]) -> list[dict[str, Any]]:
    """Return the parts as a client has them that was written from ``docs/events.md``."""
    parts: list[dict[str, Any]] = []
    for event in events:
        kind = event["type"]
        if kind in PART_KINDS:
            if event["part"] == len(parts):
                parts.append({"type": PART_KINDS[kind], "text": ""})
            parts[event["part"]]["text"] += event["delta"]
            continue
        if "part" in event:
            assert event["part"] == len(parts)
        if kind == "tool-call":
            fields = {key: event[key] for key in ("call", "tool", "input", "step")}
            parts.append({"type": "tool", **fields, "approval": None})
        elif kind == "data":
            parts.append({"type": "data", "name": event["name"], "data": event["data"]})
        elif kind == "steer-accepted":
            parts.append({"type": "steer", **{key: event[key] for key in ("steer", "content", "author")}})
        elif kind.startswith("tool-"):
            _follow_tool(next(part for part in parts if part.get("call") == event["call"]), event)
    return parts


def _follow_tool(part: dict[str, Any], event: WireEvent) -> None:
    match event["type"]:
        case "tool-progress":
            part["progress"] = event["progress"]
        case "tool-approval-request":
            part["approval"] = {"decision": None, "by": None, "expires_at": event["expires_at"]}
        case "tool-approval-response":
            part["approval"] = {**part["approval"], "decision": event["decision"], "by": event["by"]}
        case "tool-result":
            part.pop("progress", None)
            part.update({key: event[key] for key in ("output", "error") if key in event})


@given(ACTS)
def test_the_run_the_log_and_a_client_have_the_same_parts(acts: list[tuple[str, Any]]) -> None:
    live, events = play(acts)
    folded = Answer.from_rows(rows_of(events), 1)
    assert live.parts == folded.parts == follow(events)
    for name in ("length", "asked", "counted", "calls", "phase", "taken", "next_part"):
        assert getattr(live, name) == getattr(folded, name), name
    assert live.open_calls == folded.open_calls
    assert plain_text(live.parts) == "".join(event["delta"] for event in events if event["type"] == "text-delta")


@given(ACTS)
def test_every_history_is_one_that_services_take(acts: list[tuple[str, Any]]) -> None:
    answer, _ = play(acts)
    turns = transcript(answer.parts)
    for index, turn in enumerate(turns):
        results = turns[index + 1 : index + 1 + len(turn.tool_calls)]
        assert [result.tool_call_id for result in results] == [call.id for call in turn.tool_calls]
        assert (turn.role == "tool") == bool(turn.tool_call_id)
        assert turn.content or turn.tool_calls
    assert sum(turn.role == "tool" for turn in turns) == sum(part["type"] == "tool" for part in answer.parts)
    assert "".join(turn.content for turn in turns if turn.role == "assistant") == plain_text(answer.parts)


def test_a_steering_message_waits_until_it_is_accepted() -> None:
    _, events = play([("steer", 1), ("text-delta", "a"), ("steer", 2), ("steer-accepted", 1)])
    answer = Answer.from_rows(rows_of(events), 1)
    assert list(answer.steers) == ["s2"]
    assert [part["type"] for part in answer.parts] == ["text", "steer"]


def test_calls_of_two_model_calls_are_two_turns() -> None:
    answer, _ = play([("tool-call", {"a": 1}), ("usage", 0), ("tool-result", 1), ("tool-call", {"a": 2})])
    first, second = [part["call"] for part in answer.parts]
    turns = transcript(answer.parts)
    assert turns[0] == ChatMessage("assistant", "", [ToolCall(first, "add", '{"a":1}')])
    assert [turn.role for turn in turns] == ["assistant", "tool", "assistant", "tool"]
    assert turns[3].content == '{"error":{"code":"tool_failed","message":"The tool failed."}}'
    assert turns[3].tool_call_id == second


def test_waiting_is_over_with_the_decision() -> None:
    asking = [("tool-call", {}), ("tool-approval-request", 0)]
    assert is_waiting(play(asking)[0].parts)
    assert not is_waiting(play([*asking, ("tool-result", 0)])[0].parts)
    assert not is_waiting(play([("tool-call", {}), ("tool-approval-request", 1)])[0].parts)
