"""The checker says nothing of a truthful run, and finds each violation that is planted in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .checker import check
from .plan import draw
from .record import write_lines

Lines = list[dict[str, Any]]
Run = dict[str, Lines]

IDS = {"message": "m2", "generation": "g1"}
TEXT = "one two three"


def event_id(seq: int) -> str:
    """The id of a position."""
    return f"c1.1.{seq:012d}"


def stored() -> Lines:
    """The log of one prompt and its answer."""
    wire: Lines = [
        {"type": "message-created", "message": {"id": "m1"}, "generation": "g1"},
        {"type": "message-created", "message": {"id": "m2"}, "generation": "g1"},
        {"type": "generation-start", **IDS},
        *({"type": "text-delta", **IDS, "part": 0, "delta": delta} for delta in ("one ", "two ", "three")),
        {"type": "usage", **IDS, "input": 11, "output": 3, "estimated": False},
        {
            "type": "message-end",
            **IDS,
            "status": "completed",
            "checksum": "sha256:" + hashlib.sha256(TEXT.encode()).hexdigest(),
        },
    ]
    return [
        {"conversation_id": 1, "seq": seq, "first_seq": None, "generation_id": 1, "type": data["type"], "data": data}
        for seq, data in enumerate(wire, 1)
    ]


def message(role: str, text: str) -> dict[str, Any]:
    """A message in a state."""
    return {"id": {"user": "m1", "assistant": "m2"}[role], "role": role, "status": "completed", "parts": part(text)}


def part(text: str) -> Lines:
    """The parts of a message."""
    return [{"type": "text", "text": text}]


def saw(*seqs: int) -> Lines:
    """What a client writes down of events that came one by one."""
    rows = stored()
    return [{"do": "event", "id": event_id(seq), "event": rows[seq - 1]["data"]} for seq in seqs]


def truthful() -> Run:
    """A run in which all is well: one client cut in the middle, one that came late, one that asked."""
    about = {"do": "client", "conversation": "c1", "canary": "canary-a"}
    joined = {"type": "text-delta", **IDS, "part": 0, "delta": "two three"}
    snapshot = {"type": "snapshot", "messages": [message("user", "hi"), message("assistant", "one two ")]}
    arrived = {"do": "arrived", "id": event_id(8)}
    return {
        "table-conversations": [{"id": 1, "public_id": "c1", "head": 8, "epoch": 1}],
        "table-events": stored(),
        "table-messages": [
            {"id": 1, "public_id": "m1", "role": "user", "status": "completed", "text": "hi", "client_id": "r0-1"},
            {"id": 2, "public_id": "m2", "role": "assistant", "status": "completed", "text": TEXT, "client_id": ""},
        ],
        "table-generations": [
            {
                **{"id": 1, "public_id": "g1", "conversation_id": 1, "message_id": 2, "model": "answer"},
                **{"status": "completed", "end_seq": 8, "fence": 1, "takeovers": 0},
            }
        ],
        "table-usage": [{"generation_id": 1, "input_tokens": 11, "output_tokens": 3, "estimated": False}],
        "states": [
            {"web": 0, "id": "c1", "last_event_id": event_id(8),
             "messages": [message("user", "hi"), message("assistant", TEXT)]},
        ],
        "upstream": [{"generation": "g1", "tokens": 3}],
        "client-watching": [
            {**about, "client": "watching", "scope": "conversation"},
            {"do": "connect", "with": ""},
            *saw(1, 2, 3, 4),
            {"do": "cut", "why": "reset"},
            {"do": "connect", "with": event_id(4)},
            {"do": "event", "id": event_id(6), "event": joined},
            *saw(7, 8),
            arrived,
        ],
        "client-late": [
            {**about, "client": "late", "scope": "conversation"},
            {"do": "connect", "with": ""},
            {"do": "event", "id": event_id(5), "event": snapshot},
            *saw(6, 7, 8),
            arrived,
        ],
        "client-asking": [
            {**about, "client": "asking", "scope": "generation"},
            {"do": "asked", "client_id": "r0-1", "model": "answer"},
            {"do": "connect", "with": ""},
            *saw(1, 2, 3, 4, 5, 6, 7, 8),
            {"do": "accepted", "client_id": "r0-1", "generation": "g1"},
            {"do": "stopped", "generation": "g1", "status": "completed"},
            arrived,
        ],
    }  # fmt: skip


def verdict(run: Run, directory: Path) -> list[str]:
    """Write a run down and check it."""
    for name, lines in run.items():
        write_lines(directory / f"{name}.jsonl", lines)
    return check(directory)


def test_the_checker_accepts_the_truth(tmp_path: Path) -> None:
    assert verdict(truthful(), tmp_path) == []


def test_the_checker_wants_histories(tmp_path: Path) -> None:
    run = {name: lines for name, lines in truthful().items() if name.startswith("table")}
    assert verdict(run, tmp_path) == ["I9: there is no history at all"]


def swap(lines: Lines, first: int, second: int) -> None:
    """Exchange two lines."""
    lines[first], lines[second] = lines[second], lines[first]


def change(lines: Lines, index: int, **members: Any) -> None:
    """Change members of a line, or of the event in it."""
    line = lines[index]
    lines[index] = {**line, "event": {**line["event"], **members}} if "event" in line else {**line, **members}


#: What is planted, and the invariant that it breaks.
PLANTED: dict[str, tuple[str, Callable[[Run], Any]]] = {
    "an event that never came": ("I3", lambda run: run["client-watching"].pop(3)),
    "an event that came twice": ("I2", lambda run: run["client-watching"].insert(4, run["client-watching"][4])),
    "two events in the other order": ("I2", lambda run: swap(run["client-watching"], 4, 5)),
    "an event that came again after a cut": ("I2", lambda run: run["client-watching"].insert(8, *saw(4))),
    "another delta than is stored": ("I4", lambda run: change(run["client-watching"], 5, delta="uno ")),
    "a replay that joins too little": ("I3", lambda run: change(run["client-watching"], 8, delta="two ")),
    "an event that is not stored": ("I4", lambda run: run["client-watching"].insert(11, {
        "do": "event", "id": event_id(9), "event": {"type": "text-delta", **IDS, "part": 0, "delta": "!"}})),
    "a reset": ("I4", lambda run: run["client-watching"].insert(
        8, {"do": "event", "id": "", "event": {"type": "reset", "reason": "ahead"}})),
    "a snapshot that nobody asked for": ("I3", lambda run: run["client-watching"].insert(
        8, {"do": "event", "id": event_id(4), "event": {"type": "snapshot", "messages": []}})),
    "a snapshot with another text": ("I1", lambda run: change(
        run["client-late"], 2, messages=[message("assistant", "one ")])),
    "an end that a client never saw": ("I7", lambda run: run["client-late"].pop(-2)),
    "a client that never arrived": ("I9", lambda run: run["client-late"].pop()),
    "a server error": ("I9", lambda run: run["client-late"].insert(2, {"do": "refused", "status": 500})),
    "a canary of somebody else's": ("I8", lambda run: change(run["client-late"], 3, text="canary-b")),
    "an event of another conversation": ("I8", lambda run: run["client-late"].insert(
        3, {"do": "event", "id": "c2.1.000000000006", "event": {"type": "usage"}})),
    "a hole in the log": ("I3", lambda run: run["table-events"].pop(4)),
    "a head behind the log": ("I3", lambda run: change(run["table-conversations"], 0, head=7)),
    "two ends": ("I5", lambda run: run["table-events"].append({**run["table-events"][-1], "seq": 9})),
    "no end": ("I5", lambda run: change(run["table-events"], 7, type="phase")),
    "text after the end": ("I5", lambda run: swap(run["table-events"], 6, 7)),
    "an end that says something else": ("I5", lambda run: change(run["table-generations"], 0, status="stopped")),
    "a generation that still runs": ("I6", lambda run: change(run["table-generations"], 0, status="running")),
    "a message that is still written": ("I6", lambda run: change(run["table-messages"], 1, status="running")),
    "another text than its deltas": ("I1", lambda run: change(run["table-messages"], 1, text="one two")),
    "a prompt that was accepted and is gone": ("I4", lambda run: change(run["client-asking"], -3, generation="g2")),
    "a stop that was taken back": ("I4", lambda run: change(run["client-asking"], -2, status="stopped")),
    "a prompt that nobody sent": ("I4", lambda run: change(run["table-messages"], 0, client_id="r0-2")),
    "a conversation that is gone": ("I4", lambda run: change(run["client-late"], 0, conversation="c2")),
    "a process that shows another text": ("I7", lambda run: change(
        run["states"], 0, messages=[message("assistant", "one")])),
    "a process that is behind": ("I7", lambda run: change(run["states"], 0, last_event_id=event_id(7))),
    "a call that is not in the ledger": ("I12", lambda run: run["table-usage"].pop()),
    "a call that is in it twice": ("I12", lambda run: run["table-usage"].append(run["table-usage"][0])),
    "a row of nobody": ("I12", lambda run: run["table-usage"].append({**run["table-usage"][0], "generation_id": 5})),
    "another count than the service's": ("I12", lambda run: change(run["upstream"], 0, tokens=4)),
    "an answer that was generated twice": ("I12", lambda run: run["upstream"].append(run["upstream"][0])),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_the_checker_finds(planted: str, tmp_path: Path) -> None:
    invariant, plant = PLANTED[planted]
    run = truthful()
    plant(run)
    found = verdict(run, tmp_path)
    assert any(line.startswith(f"{invariant}:") for line in found), found


def test_a_seed_names_the_whole_schedule() -> None:
    def drawn(seed: str) -> str:
        return str(draw(seed, seconds=30.0))

    assert drawn("7") == drawn("7") != drawn("8")
    assert draw("7", seconds=30.0).luck("r0 talk").random() == draw("7", seconds=30.0).luck("r0 talk").random()


def test_no_two_faults_befall_one_thing_at_once() -> None:
    for seed in range(200):
        until: dict[tuple[str, int], float] = {}
        for act in draw(str(seed), seconds=60.0).acts:
            assert until.get((act.target, act.number), 0.0) <= act.at
            until[act.target, act.number] = act.at + act.lasts
