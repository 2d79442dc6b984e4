"""The state that events make: pure, and what the server has stored."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from llmstream import events

from .browsing import ClientPage
from .site import Site

ID = "c.1.{:012d}".format
ALICE = {"id": "1", "name": "alice"}
QUESTION: dict[str, Any] = {
    "id": "q",
    "role": "user",
    "parts": [{"type": "text", "text": "Why?"}],
    "parent": None,
    "author": ALICE,
    "status": "completed",
    "generation": None,
    "created_at": "2026-01-01T00:00:00.000Z",
}
ANSWER = {**QUESTION, "id": "a", "role": "assistant", "parts": [], "parent": "q", "author": None, "status": "running"}
SNAPSHOT = {
    "type": "snapshot",
    "conversation": {"id": "c", "title": "Talk", "model": "small"},
    "messages": [],
    "generations": [],
    "truncated": False,
    "last_event_id": ID(0),
}
# Applies events to a state, from a snapshot on, and freezes each state: a reducer that changed one would throw.
RUN = """async events => {
    const {EMPTY, apply, branch, active, isIntact, plainText, versions} = await import("/static/llmstream/state.js");
    const freeze = value => {
        if (value instanceof Map) [...value.values()].forEach(freeze);
        else if (value && typeof value === "object") Object.values(value).forEach(freeze);
        return Object.freeze(value);
    };
    let state = EMPTY;
    for (const [event, id] of events) state = freeze(apply(state, freeze(event), id));
    return {
        last: state.lastEventId,
        conversation: state.conversation,
        messages: [...state.messages.values()],
        generations: [...state.generations.values()],
        branch: branch(state).map(({id}) => id),
        versions: Object.fromEntries(versions(state)),
        active: active(state).map(({id}) => id),
        texts: [...state.messages.values()].map(plainText),
        intact: await Promise.all([...state.messages.values()].map(isIntact)),
    };
}"""


def created(message: dict[str, Any], generation: str = "g", **values: Any) -> dict[str, Any]:
    return {"type": "message-created", "message": {**message, **values}, "generation": generation}


def started(generation: str = "g", message: str = "a", attempt: int = 1) -> dict[str, Any]:
    kind = "generation-start"
    return {"type": kind, "generation": generation, "message": message, "model": "small", "attempt": attempt}


def delta(text: str, kind: str = "text-delta", part: int = 0) -> dict[str, Any]:
    return {"type": kind, "message": "a", "generation": "g", "part": part, "delta": text}


def ended(text: str = "", status: str = "completed", **values: Any) -> dict[str, Any]:
    whole = {"text_length": len(text), "checksum": "sha256:" + hashlib.sha256(text.encode()).hexdigest()}
    end = {"type": "message-end", "message": "a", "generation": "g", "status": status, "finish_reason": "stop"}
    return {**end, **whole, **values}


ASKED = (created(QUESTION), created({**ANSWER, "generation": "g"}))


def run(page: ClientPage, *events: dict[str, Any]) -> dict[str, Any]:
    """Apply a snapshot of an empty conversation and then events, whose ids follow one another."""
    numbered = [[event, event.get("last_event_id") or ID(number)] for number, event in enumerate((SNAPSHOT, *events))]
    found: dict[str, Any] = page.page.evaluate(RUN, numbered)
    return found


def test_an_answer_from_its_prompt_to_its_end(page: ClientPage) -> None:
    text = "Because \U0001f308."
    usage = {"type": "usage", "message": "a", "generation": "g", "input": 3, "output": 5, "estimated": False}
    found = run(page, *ASKED, started(), delta(text[:4]), delta(text[4:]), usage, ended(text))
    assert found["last"] == ID(7)
    assert found["conversation"]["title"] == "Talk"
    question, answer = found["messages"]
    assert question == QUESTION
    assert (answer["status"], answer["parts"]) == ("completed", [{"type": "text", "text": text}])
    (generation,) = found["generations"]
    assert (generation["status"], generation["finish_reason"], generation["model"]) == ("completed", "stop", "small")
    assert generation["usage"] == {"input": 3, "output": 5, "estimated": False}
    assert found["branch"] == ["q", "a"]
    assert found["active"] == []
    assert found["intact"] == [True, True]


def test_parts_keep_their_kinds(page: ClientPage) -> None:
    deltas = [delta("Hm.", "reasoning-delta"), delta("So", part=1), delta(".", part=1)]
    found = run(page, *ASKED, started(), *deltas, ended("So."))
    kinds = [{"type": "reasoning", "text": "Hm."}, {"type": "text", "text": "So."}]
    assert found["messages"][1]["parts"] == kinds
    assert found["texts"][1] == "So."
    assert found["intact"][1]


def told(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "message": "a", "generation": "g", **fields}


def test_tools_data_and_steering_are_parts(page: ClientPage) -> None:
    call = {"call": "c1", "tool": "wipe", "input": {"what": "x"}}
    asked = [
        *(*ASKED, started(), told("phase", name="looking", detail="")),
        told("tool-call", part=0, **call, step=1),
        told("tool-progress", call="c1", progress={"done": 1}),
        told("data", part=1, name="chart", data=[1]),
        told("tool-approval-request", **call, expires_at="later"),
        told("steer", steer="s1", content="Hurry", author=ALICE),
    ]
    waiting = run(page, *asked)
    (generation,) = waiting["generations"]
    assert (generation["status"], generation["phase"]["name"]) == ("waiting", "looking")
    assert [item["steer"] for item in generation["steers"]] == ["s1"]
    assert waiting["messages"][1]["parts"][0]["approval"] == {"decision": None, "by": None, "expires_at": "later"}
    decided = [
        told("tool-approval-response", call="c1", decision="approve", by=ALICE),
        told("tool-result", call="c1", tool="wipe", output="wiped"),
        told("steer-accepted", part=2, steer="s1", content="Hurry", author=ALICE),
        delta("Done.", part=3),
    ]
    found = run(page, *asked, *decided)
    (generation,) = found["generations"]
    assert (generation["status"], generation["steers"]) == ("running", [])
    tool, data, steer, text = found["messages"][1]["parts"]
    approval = {"decision": "approve", "by": ALICE, "expires_at": "later"}
    assert tool == {"type": "tool", **call, "step": 1, "approval": approval, "output": "wiped"}
    assert data == {"type": "data", "name": "chart", "data": [1]}
    assert steer == {"type": "steer", "steer": "s1", "content": "Hurry", "author": ALICE}
    assert text == {"type": "text", "text": "Done."}
    assert run(page, *asked, *decided, ended("Done."))["intact"][1]


@pytest.mark.parametrize("end", [ended("abc"), ended("ab", checksum="sha256:0"), ended("ba")])
def test_another_text_than_the_servers_is_noticed(page: ClientPage, end: dict[str, Any]) -> None:
    assert run(page, *ASKED, started(), delta("a"), delta("b"), end)["intact"] == [True, False]


def test_an_event_counts_once(page: ClientPage) -> None:
    events = [(SNAPSHOT, ID(0)), *((event, ID(number)) for number, event in enumerate(ASKED, 1))]
    deltas = [(delta("a"), ID(4)), (delta("a"), ID(4)), (delta("b"), ID(3)), (delta("c"), ID(5))]
    found = page.page.evaluate(RUN, [list(pair) for pair in (*events, *deltas)])
    assert found["texts"][1] == "ac"
    assert found["last"] == ID(5)


def test_a_snapshot_replaces_everything_and_a_reset_drops_it(page: ClientPage) -> None:
    partial = {**ANSWER, "parts": [{"type": "text", "text": "ab"}], "generation": "g"}
    again = {**SNAPSHOT, "messages": [QUESTION, partial], "last_event_id": ID(1)}
    assert run(page, *ASKED, started(), delta("x"), again, delta("c"))["texts"] == ["Why?", "abc"]
    dropped = run(page, *ASKED, {"type": "reset", "reason": "epoch"})
    assert (dropped["messages"], dropped["last"]) == ([], "")


def test_prompts_that_wait_come_after_the_answer_at_work(page: ClientPage) -> None:
    later = [
        created(QUESTION, "h", id="q2", parent="a"),
        created({**ANSWER, "generation": "h"}, "h", id="b", parent="q2"),
    ]
    found = run(page, *ASKED, *later, started())
    assert [generation["status"] for generation in found["generations"]] == ["running", "queued"]
    assert found["active"] == ["g", "h"]
    assert found["branch"] == ["q", "a", "q2", "b"]


def test_a_retry_is_a_branch_of_its_own(page: ClientPage) -> None:
    again = created({**ANSWER, "generation": "h"}, "h", id="b")
    found = run(page, *ASKED, started(), ended(status="failed", error={"code": "x"}), again, started("h", "b", 2))
    assert found["branch"] == ["q", "b"]
    assert [generation["attempt"] for generation in found["generations"]] == [1, 2]
    assert found["generations"][0]["error"] == {"code": "x"}
    assert found["versions"] == {"null": ["q"], "q": ["a", "b"]}


def test_the_branch_on_show_is_the_chosen_one_until_a_message_comes(page: ClientPage) -> None:
    again = created({**ANSWER, "generation": "h"}, "h", id="b")
    chosen = {"type": "branch-chosen", "leaf": "a"}
    events = [*ASKED, started(), ended(), again, started("h", "b", 2), ended(generation="h", message="b"), chosen]
    assert run(page, *events)["branch"] == ["q", "a"]
    assert run(page, *events, {**chosen, "leaf": "b"})["branch"] == ["q", "b"]
    later = [created({**QUESTION, "parent": "a"}, "i", id="q2")]
    assert run(page, *events, *later)["branch"] == ["q", "a", "q2"]
    snapshot = {**SNAPSHOT, "messages": [QUESTION, ANSWER, {**ANSWER, "id": "b"}], "leaf": "a"}
    assert run(page, snapshot)["branch"] == ["q", "a"]
    assert run(page, {**snapshot, "leaf": "older than these"})["branch"] == ["q", "b"]


def test_turns_left_out_are_kept_with_the_generation(page: ClientPage) -> None:
    left_out = {"type": "context", "message": "a", "generation": "g", "messages": 4, "left_out": 2}
    assert run(page, *ASKED, started(), left_out)["generations"][0]["left_out"] == 2


def test_what_is_unknown_moves_the_position_only(page: ClientPage) -> None:
    strange = {"type": "tomorrow", "message": "a"}
    found = run(page, *ASKED, strange, {**delta("x"), "message": "older than the snapshot"})
    assert found["texts"] == ["Why?", ""]
    assert found["last"] == ID(4)


def test_every_type_that_a_log_carries_is_listened_for_over_sse(page: ClientPage) -> None:
    known = page.page.evaluate("async () => (await import('/static/llmstream/wire.js')).EVENT_TYPES")
    assert set(known) == {*events.STORED, events.SNAPSHOT, events.RESET}


def test_a_conversation_follows_its_room_and_fetches_what_is_wrong(site: Site, page: ClientPage) -> None:
    page.start()
    page.join("c")
    page.page.evaluate("globalThis.talk = new Conversation(rooms.c)")
    socket = site.socket()
    socket.admit()
    for number, event in enumerate((SNAPSHOT, *ASKED, started(), delta("wrong"), ended("right"))):
        socket.send("event", room="c", id=ID(number), event=event)
    join = socket.admit()
    assert "last_event_id" not in join
    stored = {**ANSWER, "parts": [{"type": "text", "text": "right"}], "status": "completed"}
    again = {**SNAPSHOT, "messages": [QUESTION, stored], "last_event_id": ID(5)}
    socket.send("event", room="c", id=ID(5), event=again)
    page.wait("talk.branch[1]?.parts[0]?.text === 'right'")
    assert page.page.evaluate("talk.active") == []
