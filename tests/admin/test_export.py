"""Exports: JSON Lines that OpenAI's tools read, CSV that spreadsheets do not run, Markdown."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from django.test import AsyncClient, Client

from llmstream import export as export_module
from llmstream.admin import conversations
from llmstream.branches import choose
from llmstream.database import run_db
from llmstream.export import FORMATS, export
from llmstream.generations.prompts import retry
from llmstream.models import Conversation
from tests.support import ask, conversation, message_ids

from .staff import ADMIN, VIEW, answered, body, finish, readings, say, signed_in

pytestmark = pytest.mark.django_db


def exported(name: str, *talks: Conversation) -> str:
    """Return the file."""
    return "".join(export([talk.pk for talk in talks], FORMATS[name]))


def download(client: Client, name: str, *talks: Conversation, **data: Any) -> Any:
    """Choose the action."""
    chosen = {"action": f"export_{name}", "_selected_action": [talk.pk for talk in talks], **data}
    return client.post(f"{ADMIN}conversation/", chosen)


def rows(text: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def branched() -> Conversation:
    """Return a conversation whose first answer failed and was tried again."""
    first = answered("Question", "Half an ans", status="failed", title="Talk")
    second = retry(first.generation.pk)
    say(second.generation, "The answer", " is ☃.")
    finish(second)
    return first.conversation


def test_jsonl_has_the_chosen_branch_in_openais_format() -> None:
    talk, empty = branched(), conversation()
    [line] = exported("jsonl", talk, empty).splitlines()
    assert json.loads(line) == {
        "messages": [
            {"role": "user", "content": "Question"},
            {"role": "assistant", "content": "The answer is ☃."},
        ],
        "metadata": {"conversation": talk.public_id},
    }


def test_another_branch_is_exported_once_it_is_chosen() -> None:
    talk = branched()
    choose(talk.pk, message_ids(talk)[1])
    [line] = exported("jsonl", talk).splitlines()
    assert json.loads(line)["messages"][-1] == {"role": "assistant", "content": "Half an ans"}
    assert "The answer is" not in exported("markdown", talk)
    assert len(rows(exported("csv", talk))) == 3


def test_csv_has_every_message() -> None:
    talk = branched()
    found = rows(exported("csv", talk))
    assert [(row["role"], row["status"], row["text"]) for row in found] == [
        ("user", "completed", "Question"),
        ("assistant", "failed", "Half an ans"),
        ("assistant", "completed", "The answer is ☃."),
    ]
    assert {row["parent"] for row in found[1:]} == {found[0]["message"]}
    assert {row["title"] for row in found} == {"Talk"}


@pytest.mark.parametrize("said", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_holds_no_formulas(said: str) -> None:
    sent = ask(conversation(title="=2+2"), said)
    [row, *_others] = rows(exported("csv", sent.conversation))
    assert row["text"] == f"'{said}"
    assert row["title"] == "'=2+2"


def test_csv_keeps_commas_quotes_and_lines() -> None:
    said = 'one, "two"\nthree'
    [row, *_others] = rows(exported("csv", ask(conversation(), said).conversation))
    assert row["text"] == said


def test_markdown_is_the_chosen_branch_under_its_title() -> None:
    talk = branched()
    Conversation.objects.filter(pk=talk.pk).update(title="Two\n# lines")
    text = exported("markdown", talk)
    assert text.startswith("# Two # lines\n")
    assert "## User, " in text
    assert "\n\nThe answer is ☃.\n" in text
    assert "Half an ans" not in text


def test_a_running_answer_is_exported_as_far_as_it_has_come() -> None:
    sent = ask(conversation(), "Hi")
    say(sent.generation, "So far")
    assert rows(exported("csv", sent.conversation))[1]["text"] == "So far"


def test_many_are_exported_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "_CONVERSATIONS_PER_QUERY", 2)
    talks = [answered(str(number)).conversation for number in range(5)]
    talks[1].delete()
    found = [json.loads(line)["messages"][0]["content"] for line in exported("jsonl", *talks).splitlines()]
    assert found == ["0", "2", "3", "4"]


@pytest.mark.parametrize("name", FORMATS)
def test_selected_conversations_are_sent_as_a_file_and_recorded(name: str) -> None:
    client = signed_in(*VIEW, "view_content")
    one, other, third = (answered(f"Question {number}").conversation for number in range(3))
    response = download(client, name, one, other)
    assert response.streaming
    assert response["Content-Disposition"] == f'attachment; filename="conversations.{FORMATS[name].extension}"'
    assert response["X-Content-Type-Options"] == "nosniff"
    text = body(response)
    assert "Question 0" in text
    assert "Question 2" not in text
    assert readings(one) == readings(other) == [f"Exported as {FORMATS[name].label}."]
    assert readings(third) == []


def test_too_many_are_refused_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "LIST_LIMIT", 2)
    client = signed_in(*VIEW, "view_content")
    talks = [answered().conversation for _ in range(3)]
    response = download(client, "csv", talks[0], select_across="1")
    assert response.status_code == 302
    assert "Export 2 conversations at most." in body(client.get(response["Location"]))
    assert readings() == []


@pytest.mark.django_db(transaction=True)
async def test_under_asgi_the_file_is_streamed_too(asgi_client: AsyncClient) -> None:
    sent = await run_db(answered, "Question")
    chosen = {"action": "export_jsonl", "_selected_action": sent.conversation.pk}
    response: Any = await asgi_client.post(f"{ADMIN}conversation/", chosen)
    content = b"".join([chunk async for chunk in response.streaming_content])
    assert json.loads(content)["messages"][0]["content"] == "Question"
