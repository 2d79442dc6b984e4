"""The log against a plain list: whatever is appended, committed, refused and rolled back, it reads as the list."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from django.db import IntegrityError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from llmstream.events import PART_KINDS, REASONING_DELTA, TEXT_DELTA, delta
from llmstream.log.group import Write, commit, commit_again
from llmstream.log.reading import read_page, read_rows
from llmstream.log.rows import Draft
from llmstream.log.transaction import locked
from llmstream.models import Conversation
from tests.support import ask, conversation

pytestmark = [pytest.mark.contract, pytest.mark.django_db(transaction=True)]

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
PIECES = st.lists(st.tuples(st.sampled_from([TEXT_DELTA, REASONING_DELTA]), st.integers(0, 1), TEXTS), max_size=4)


def joined(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join neighbouring deltas of one part, as a replay does."""
    result: list[dict[str, Any]] = []
    for event in events:
        last = result[-1] if result else {}
        if event["type"] in PART_KINDS and all(last.get(key) == event[key] for key in ("type", "message", "part")):
            result[-1] = {**event, "delta": last["delta"] + event["delta"]}
        else:
            result.append(event)
    return result


class LogMachine(RuleBasedStateMachine):
    """One conversation with a running generation, and the list of what it must hold."""

    @initialize()
    def begin(self) -> None:
        """Ask something."""
        self.sent = ask(conversation())
        self.pk = self.sent.conversation.pk
        self.events = [orjson.loads(row.data) for row in read_rows(self.pk, 0)]
        self.written = len(self.events)
        self.number = 0

    def drafts(self, pieces: list[tuple[str, int, str]]) -> list[dict[str, Any]]:
        """Return deltas of the generation."""
        ids = self.sent.answer.public_id, self.sent.generation.public_id
        return [delta(kind, *ids, part, text) for kind, part, text in pieces]

    def write(self, events: list[dict[str, Any]], fence: int) -> Write:
        """Return a write of events."""
        generation = self.sent.generation.pk
        return Write(self.pk, generation, fence, [Draft.of(event, generation) for event in events], self.written)

    @rule(count=st.integers(0, 3))
    def append(self, count: int) -> None:
        """Append under the lock."""
        with locked(self.pk) as log:
            for _ in range(count):
                self.number += 1
                event = {"type": "usage", "number": self.number}
                assert log.append(event) == len(self.events) + 1
                self.events.append(event)

    @rule(count=st.integers(1, 3))
    def roll_back(self, count: int) -> None:
        """Append in a transaction that fails."""
        with suppress(IntegrityError), locked(self.pk) as log:
            for _ in range(count):
                log.append({"type": "usage", "number": -1})
            raise IntegrityError

    @rule(pieces=PIECES)
    def flush(self, pieces: list[tuple[str, int, str]]) -> None:
        """Commit deltas of the generation."""
        drafts = self.drafts(pieces)
        assert commit([self.write(drafts, self.sent.generation.fence)]) == set()
        self.events += drafts
        self.written += len(drafts)

    @rule(pieces=PIECES, arrived=st.booleans())
    def flush_with_a_lost_answer(self, pieces: list[tuple[str, int, str]], arrived: bool) -> None:
        """Commit deltas whose first try did or did not arrive."""
        drafts = self.drafts(pieces)
        again = self.write(drafts, self.sent.generation.fence)
        if arrived:
            commit([again])
        assert commit_again([again]) == set()
        self.events += drafts
        self.written += len(drafts)

    @rule(pieces=PIECES, fence=st.sampled_from([0, 2, 99]))
    def refused(self, pieces: list[tuple[str, int, str]], fence: int) -> None:
        """Commit as somebody who owns nothing."""
        assert commit([self.write(self.drafts(pieces), fence)]) == {(self.sent.generation.pk, fence)}

    @rule(data=st.data(), max_bytes=st.integers(1, 2_000))
    def read(self, data: st.DataObject, max_bytes: int) -> None:
        """Read to the end in pages, from anywhere."""
        start = seq = data.draw(st.integers(0, len(self.events)))
        got: list[dict[str, Any]] = []
        more = True
        while more:
            page = read_page(self.pk, seq, max_bytes=max_bytes)
            assert page.seq > seq or not page.more
            part = [orjson.loads(row.data) for row in page.rows]
            assert part == joined(self.events[seq : page.seq])
            assert [row.seq for row in page.rows][-1:] == ([page.seq] if part else [])
            got += part
            seq, more = page.seq, page.more
        assert seq == len(self.events)
        assert joined(got) == joined(self.events[start:])

    @invariant()
    def holds_the_list(self) -> None:
        """Everything is there, once, at its position."""
        if hasattr(self, "pk"):
            rows = read_rows(self.pk, 0)
            assert [row.seq for row in rows] == list(range(1, len(self.events) + 1))
            assert [orjson.loads(row.data) for row in rows] == self.events
            assert Conversation.objects.get(pk=self.pk).head == len(self.events)


def test_the_log_reads_as_a_list_of_what_was_committed() -> None:
    run_state_machine_as_test(
        LogMachine,
        settings=settings(
            max_examples=20,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
