"""The offline checker: client histories and the final database against what llmstream promises.

``python -m tests.chaos.checker DIRECTORY`` checks a run that was kept. It shares no code with the library and asks no
server: what it says rests on files alone. The invariants are

=====  ==============================================================================================================
I1     what a client was shown is, delta by delta and in its snapshots, the text that is stored
I2     the ids that a client gets strictly increase, over all its connections
I3     nothing between the first and the last of them was left out, nothing came twice
I4     everything that anybody saw is stored, the same; nothing that was accepted or decided is gone
I5     one terminal event for each generation, nothing of it afterwards, and rows that agree
I6     nothing is left running
I7     every client that stayed, and every process asked for the state, arrives at the stored text
I8     nobody sees anything of somebody else's
I9     every client that stays gets to the end
I12    the ledger has what the log has, and what the service counted
=====  ==============================================================================================================

I10 (no leak) is looked at by ``test_leaks``, I11 (nothing after a stop) follows from I4 and I5.
"""

from __future__ import annotations

import hashlib
import re
import sys
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.live.history import DELTA_PARTS, position

from .record import TABLES, read_lines

ENDED: Final = {"completed", "stopped", "failed", "interrupted"}
CANARY: Final = re.compile(r"canary-[0-9a-z-]+")


@dataclass(slots=True)
class Log:
    """One conversation as it is stored."""

    row: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)

    def of(self, generation: int | None) -> list[dict[str, Any]]:
        """The events of one generation, or all."""
        return [event for event in self.events if generation is None or event["generation_id"] == generation]

    def text(self, message: str, until: int | None = None) -> str:
        """The text that the deltas add up to."""
        return "".join(
            event["data"]["delta"]
            for event in self.events
            if event["type"] == "text-delta"
            and event["data"]["message"] == message
            and (until is None or event["seq"] <= until)
        )


class Run:
    """Everything that a run has left behind."""

    def __init__(self, directory: Path) -> None:
        tables = {name: list(read_lines(directory / f"table-{name}.jsonl")) for name in TABLES}
        self.logs = {row["id"]: Log(row) for row in tables["conversations"]}
        for event in tables["events"]:
            self.logs[event["conversation_id"]].events.append(event)
        self.by_id = {log.row["public_id"]: log for log in self.logs.values()}
        self.messages = {row["id"]: row for row in tables["messages"]}
        self.generations = {row["id"]: row for row in tables["generations"]}
        self.generation_by_id = {row["public_id"]: row for row in tables["generations"]}
        self.usage = tables["usage"]
        self.histories = [list(read_lines(file)) for file in sorted(directory.glob("client-*.jsonl"))]
        self.states = list(_optional(directory / "states.jsonl"))
        self.exchanges = list(_optional(directory / "upstream.jsonl"))


def _optional(file: Path) -> Iterator[dict[str, Any]]:
    return read_lines(file) if file.exists() else iter(())


def check(directory: Path) -> list[str]:
    """Return every violation that is found, each with its invariant and whom it befell."""
    run = Run(directory)
    if not run.histories:
        return ["I9: there is no history at all"]
    found = [*_database(run), *_ledger(run), *_states(run)]
    for history in run.histories:
        found += ClientCheck(run, history).violations()
    return found


class ClientCheck:
    """One client's history against the database."""

    def __init__(self, run: Run, history: Sequence[dict[str, Any]]) -> None:
        self._run = run
        self._history = history
        self._about = history[0]
        self._log = run.by_id.get(self._about["conversation"])
        self._found: list[str] = []
        self._last = 0
        self._sent = ""
        self._generation: int | None = None
        self._rows: list[dict[str, Any]] = []
        self._seqs: list[int] = []

    def violations(self) -> list[str]:
        """Go through the history once."""
        if self._log is None:
            self._say("I4", "its conversation is not stored")
            return self._found
        self._scope(None)
        self._last = self._about.get("base", 0)
        for line in self._history[1:]:
            self._canary(line)
            match line["do"]:
                case "connect":
                    self._connect(line)
                case "event":
                    self._event(line)
                case "accepted":
                    self._accepted(line)
                case "stopped":
                    self._stopped(line)
                case "refused" if line["status"] >= 500 and line["status"] != 503:
                    self._say("I9", f"was answered {line['status']}")
        self._end()
        return self._found

    def _say(self, invariant: str, what: str) -> None:
        self._found.append(f"{invariant}: {self._about['client']} {what}")

    def _scope(self, generation: str | None) -> None:
        assert self._log is not None
        row = self._run.generation_by_id.get(generation or "")
        self._generation = row["id"] if row else None
        self._rows = self._log.of(self._generation)
        self._seqs = [row["seq"] for row in self._rows]

    def _connect(self, line: Mapping[str, Any]) -> None:
        self._sent = line["with"]

    def _event(self, line: Mapping[str, Any]) -> None:
        event = line["event"]
        if event["type"] == "reset":
            self._say("I4", f"was reset ({event.get('reason')}) with {self._sent}")
            self._last = -1
        if not line["id"]:
            return
        conversation, epoch, seq = position(line["id"])
        assert self._log is not None
        if (conversation, int(epoch)) != (self._log.row["public_id"], self._log.row["epoch"]):
            self._say("I8", f"got {line['id']}, which is not of its conversation")
        elif event["type"] == "snapshot":
            self._snapshot(event, seq)
        elif seq <= self._last:
            self._say("I2", f"got {seq} after {self._last}")
        else:
            self._follow(event, seq)
        self._last = max(self._last, seq)

    def _snapshot(self, event: Mapping[str, Any], seq: int) -> None:
        if self._sent and self._last >= 0:
            self._say("I3", f"came with {self._sent} and got a snapshot")
        assert self._log is not None
        for message in event["messages"]:
            if message["role"] != "assistant":
                continue
            shown = "".join(part["text"] for part in message["parts"] if part["type"] == "text")
            if shown != self._log.text(message["id"], seq):
                self._say("I1", f"was shown another text of {message['id']} in a snapshot at {seq}")

    def _follow(self, event: Mapping[str, Any], seq: int) -> None:
        if self._about["scope"] == "generation" and self._generation is None:
            self._scope(event.get("generation"))
        rows = self._rows[bisect_right(self._seqs, self._last) : bisect_right(self._seqs, seq)]
        if not rows or rows[-1]["seq"] != seq:
            self._say("I4", f"saw {event['type']} at {seq}, which is not stored")
        elif len(rows) == 1:
            if rows[0]["data"] != event:
                self._say("I4", f"saw another {event['type']} at {seq} than is stored")
        elif not _joins(rows, event):
            self._say("I3", f"got {seq} after {self._last} and missed {len(rows) - 1} before it")

    def _canary(self, line: Mapping[str, Any]) -> None:
        for canary in set(CANARY.findall(str(line))):
            if canary != self._about["canary"]:
                self._say("I8", f"saw {canary}")

    def _accepted(self, line: Mapping[str, Any]) -> None:
        row = self._run.generation_by_id.get(line["generation"])
        if row is None or row["conversation_id"] != (self._log.row["id"] if self._log else None):
            self._say("I4", f"sent {line['client_id']}, and it is not stored")

    def _stopped(self, line: Mapping[str, Any]) -> None:
        row = self._run.generation_by_id.get(line["generation"])
        if row is None or row["status"] != line["status"]:
            self._say("I4", f"was told {line['generation']} was {line['status']}, and it is {row and row['status']}")

    def _end(self) -> None:
        if self._about.get("leaves"):
            return
        if self._history[-1]["do"] != "arrived":
            self._say("I9", f"never got to the end: {self._history[-1]}")
        elif missing := [seq for seq in self._seqs if seq > self._last]:
            self._say("I7", f"stayed and never got {missing}")


def _joins(rows: Sequence[Mapping[str, Any]], event: Mapping[str, Any]) -> bool:
    """Whether an event is what a replay makes of several deltas of one part."""
    if any(row["type"] not in DELTA_PARTS for row in rows):
        return False
    joined = {**rows[-1]["data"], "delta": "".join(row["data"]["delta"] for row in rows)}
    same = {(row["type"], row["data"]["message"], row["data"]["part"]) for row in rows}
    return len(same) == 1 and joined == event


def _database(run: Run) -> Iterator[str]:
    for log in run.logs.values():
        seqs = [event["seq"] for event in log.events]
        if seqs != list(range(1, log.row["head"] + 1)):
            yield f"I3: the log of {log.row['public_id']} has {len(seqs)} events and its head is {log.row['head']}"
    for generation in run.generations.values():
        log = run.logs[generation["conversation_id"]]
        yield from _generation(generation, log.of(generation["id"]), run.messages[generation["message_id"]], log)
    asked = {line["client_id"] for history in run.histories for line in history if line["do"] == "asked"}
    for message in run.messages.values():
        if message["status"] not in ENDED:
            yield f"I6: message {message['public_id']} is {message['status']}"
        if message["role"] == "user" and asked and message["client_id"] not in asked:
            yield f"I4: message {message['public_id']} was asked by nobody"


def _generation(
    generation: Mapping[str, Any], events: Sequence[Mapping[str, Any]], message: Mapping[str, Any], log: Log
) -> Iterator[str]:
    name, status = generation["public_id"], generation["status"]
    if status not in ENDED:
        yield f"I6: generation {name} is {status}"
        return
    ends = [event for event in events if event["type"] == "message-end"]
    if len(ends) != 1:
        yield f"I5: generation {name} has {len(ends)} terminal events"
        return
    (end,) = ends
    if events[-1] is not end:
        yield f"I5: generation {name} has {events[-1]['type']} after its end"
    if (end["data"]["status"], end["seq"]) != (status, generation["end_seq"]) or message["status"] != status:
        yield f"I5: generation {name} is {status}, its end says {end['data']['status']} at {end['seq']}"
    text = log.text(message["public_id"])
    if text != message["text"]:
        yield f"I1: message {message['public_id']} is stored as another text than its deltas"
    if end["data"]["checksum"] != "sha256:" + hashlib.sha256(message["text"].encode()).hexdigest():
        yield f"I1: the end of {name} has the checksum of another text"


def _ledger(run: Run) -> Iterator[str]:
    rows: dict[int, Counter[tuple[int, int, bool]]] = defaultdict(Counter)
    for record in run.usage:
        if record["generation_id"] is None:
            continue  # Of a conversation that was pruned or erased: nobody deletes what was spent.
        figures = record["input_tokens"], record["output_tokens"], record["estimated"]
        rows[record["generation_id"]][figures] += 1
    exchanges: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for exchange in run.exchanges:
        exchanges[exchange["generation"]].append(exchange)
    for generation in run.generations.values():
        name, events = generation["public_id"], run.logs[generation["conversation_id"]].of(generation["id"])
        said = Counter(
            (event["data"]["input"], event["data"]["output"], event["data"]["estimated"])
            for event in events
            if event["type"] == "usage"
        )
        booked = rows.pop(generation["id"], Counter())
        if booked != said:
            yield f"I12: the ledger of {name} has {dict(booked)}, its log says {dict(said)}"
        if calls := exchanges.get(name):
            yield from _calls(generation, calls, booked)
    if rows:
        yield f"I12: the ledger has rows of generations that do not exist: {sorted(rows)}"


def _calls(
    generation: Mapping[str, Any], calls: Sequence[Mapping[str, Any]], booked: Counter[tuple[int, int, bool]]
) -> Iterator[str]:
    """Compare with the service's own count; what was not told to the end is estimated.

    A process may be lost before its call arrives, so that an owner's estimated row stands for no call.
    """
    name, owners = generation["public_id"], generation["fence"]
    if len(calls) > owners or booked.total() > owners:
        yield f"I12: {name} had {owners} owners, {len(calls)} calls of the service and {booked.total()} rows"
    counted = [tokens for _, tokens, estimated in booked.elements() if not estimated]
    if any(tokens not in [call["tokens"] for call in calls] for tokens in counted):
        yield f"I12: {name} has {counted} in the ledger, the service counted {[call['tokens'] for call in calls]}"


def _states(run: Run) -> Iterator[str]:
    stored = {row["public_id"]: row for row in run.messages.values()}
    for state in run.states:
        log = run.by_id.get(state["id"])
        if log is None or position(state["last_event_id"])[2] != log.row["head"]:
            yield f"I7: process {state['web']} says {state['last_event_id']} of {state['id']}"
        for message in state["messages"]:
            text = "".join(part["text"] for part in message["parts"] if part["type"] == "text")
            row = stored.get(message["id"])
            if row is None or (row["text"], row["status"]) != (text, message["status"]):
                yield f"I7: process {state['web']} shows another {message['id']} than is stored"


def main() -> None:
    """Check the directory that is named and print what is wrong with it."""
    found = check(Path(sys.argv[1]))
    print("\n".join(found) or "nothing is wrong")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
