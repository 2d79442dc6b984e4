"""Feedback in the admin: found by, shown where it belongs, its words only to those who may read content."""

from __future__ import annotations

import csv
import io
import json

import pytest

from llmstream.export import FORMATS, export
from llmstream.generations.prompts import Sent
from llmstream.models import Feedback
from tests.support import user

from .staff import ADMIN, VIEW, answered, body, readings, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def rated() -> Sent:
    """An answer that bob thinks little of, beside one that nobody has rated."""
    answered("Unrated")
    sent = answered("Rated")
    Feedback.objects.create(message=sent.answer, user=user("bob"), rating="down", comment="=zebra\nof no use")
    return sent


def test_lists_are_filtered_by_it(rated: Sent) -> None:
    client = signed_in(*VIEW, "view_feedback")
    for value, found in (("", 2), ("any", 1), ("down", 1), ("up", 0)):
        for name, times in (("conversation", 1), ("message", 2 if not value else 1)):
            listed = client.get(f"{ADMIN}{name}/", {"feedback": value} if value else {})
            assert len(listed.context["cl"].result_list) == found * times, (name, value)
    listed = client.get(f"{ADMIN}feedback/", {"rating__exact": "down"})
    assert [row.user.get_username() for row in listed.context["cl"].result_list] == ["bob"]


def test_its_words_are_content(rated: Sent) -> None:
    row = Feedback.objects.get()
    pages = (
        f"{ADMIN}feedback/",
        f"{ADMIN}feedback/{row.pk}/change/",
        f"{ADMIN}conversation/{rated.conversation.pk}/change/",
    )
    viewer = signed_in(*VIEW, "view_feedback")
    assert ["zebra" in body(viewer.get(page)) for page in pages] == [False, False, False]
    assert readings() == []
    reader = signed_in(*VIEW, "view_feedback", "view_content")
    assert ["zebra" in body(reader.get(page)) for page in pages] == [False, True, True]
    assert readings(rated.conversation) == [
        f"Read feedback on message {rated.answer.public_id}.",
        "Read the transcript.",
    ]
    assert reader.get(f"{ADMIN}feedback/", {"comment__contains": "z"}).status_code in (302, 400)


def test_exports_have_it(rated: Sent) -> None:
    texts = {name: "".join(export([rated.conversation.pk], kind)) for name, kind in FORMATS.items()}
    told = json.loads(texts["jsonl"])["metadata"]["feedback"]
    assert told == [{"message": rated.answer.public_id, "rating": "down", "comment": "=zebra\nof no use"}]
    rows = list(csv.DictReader(io.StringIO(texts["csv"], newline="")))
    assert [row["feedback"] for row in rows] == ["", "down: =zebra of no use"]
    assert "> down: =zebra of no use\n" in texts["markdown"]
