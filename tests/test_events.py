"""Event ids and texts: printed and parsed in one place, and nothing in them that a stream cannot carry."""

from __future__ import annotations

import re
import string
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstream.events import (
    EVENT_ID_MAX_LENGTH,
    PUBLIC_ID_PATTERN,
    EventId,
    clean_text,
    encode,
    new_public_id,
    text_checksum,
)

PUBLIC_IDS = st.text(string.ascii_letters + string.digits, min_size=22, max_size=22)
POSITIONS = st.builds(EventId, PUBLIC_IDS, st.integers(0, 10**9 - 1), st.integers(0, 10**12 - 1))


@given(POSITIONS)
def test_an_id_is_what_it_prints(position: EventId) -> None:
    text = str(position)
    assert EventId.parse(text) == position
    assert re.fullmatch(r"[A-Za-z0-9._-]+", text)
    assert len(text.encode()) <= EVENT_ID_MAX_LENGTH


@given(PUBLIC_IDS, st.integers(1, 9), st.integers(0, 10**12 - 1), st.integers(0, 10**12 - 1))
def test_ids_of_one_epoch_sort_as_text(public_id: str, epoch: int, one: int, other: int) -> None:
    first, second = EventId(public_id, epoch, one), EventId(public_id, epoch, other)
    assert (str(first) < str(second)) == (one < other)


@given(st.text(max_size=80))
def test_whatever_is_parsed_prints_the_same(text: str) -> None:
    position = EventId.parse(text)
    assert position is None or str(EventId.parse(str(position))) == str(position)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        f"{'x' * 22}.1.1",
        f"{'x' * 21}.1.{1:012d}",
        f"{'x' * 22}.1.{1:013d}",
        f"{'x' * 22}..{1:012d}",
        f"{'x' * 22}.-1.{1:012d}",
        f"{'x' * 22}.1.{1:012d}\n",
        f" {'x' * 22}.1.{1:012d}",
        f"{'x' * 22}.1.00000000000\u0661",
        "\u00e4" * 22 + ".1.000000000001",
        f"{'x' * 22}.{'9' * 40}.{1:012d}",
    ],
)
def test_anything_else_is_no_id(text: str) -> None:
    assert EventId.parse(text) is None


def test_public_ids_are_random_and_fit_their_pattern() -> None:
    made = {new_public_id() for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(re.fullmatch(PUBLIC_ID_PATTERN, public_id) for public_id in made)


@given(st.text(st.characters() | st.sampled_from("\0\ud800\udc00\udfff")))
def test_clean_text_can_be_stored_and_sent(text: str) -> None:
    cleaned = clean_text(text)
    assert b"\0" not in cleaned.encode()
    encode({"text": cleaned})
    assert clean_text(cleaned) == cleaned


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_clean_text_leaves_good_text_alone(text: str) -> None:
    assert clean_text(text) == text


def test_halves_of_a_character_become_a_whole_one_again() -> None:
    assert clean_text("\ud83d\ude00") == "\U0001f600"
    assert clean_text("a\ud83d") == "a\ufffd"
    assert clean_text("a\0b") == "a\ufffdb"


def test_the_checksum_is_of_the_utf_8_text() -> None:
    assert text_checksum("") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert text_checksum("\u00fc") != text_checksum("u")


def test_an_encoded_event_takes_the_memory_of_its_bytes() -> None:
    event = {"type": "text-delta", "message": "m" * 22, "generation": "g" * 22, "part": 0, "delta": "token"}
    encode(event)
    tracemalloc.start()
    kept = [encode(event) for _ in range(200)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 200 * (len(kept[0]) + 100)
