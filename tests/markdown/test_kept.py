"""Renderings are kept beside the message, made again when they are of another time, and gone with what was said."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from django.test import AsyncClient

from llmstream import markup
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.log.transaction import locked
from llmstream.markdown import kept
from llmstream.models import Message, Rendering
from llmstream.retention.tombstones import strip
from llmstream.snapshot import state
from tests.admin.staff import answered, say
from tests.documentation import snippet
from tests.http.client import ROOT, own, signed_in
from tests.support import ask, changed, user
from tests.widget.test_tags import render

pytestmark = pytest.mark.django_db(transaction=True)

ANSWER = "# Hello\n\nLet $x$ be."


def shown(sent: Any) -> str:
    """Return the answer of a conversation as the page has it."""
    return render("{% llmstream_messages chat %}", user("ann"), chat=sent.conversation)


def test_a_settled_answer_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = answered("**Hi**", ANSWER)
    first = shown(sent)
    assert '<h3 dir="auto">Hello</h3>' in first
    assert "**Hi**" in first  # what people write is shown as they wrote it
    monkeypatch.setattr(kept, "render", lambda *_: pytest.fail("rendered again"))
    assert shown(sent) == first


def test_another_renderer_or_setting_makes_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = answered("Hi", "![a](https://images.example.com/a.png)")
    assert "<img" not in shown(sent)
    with changed(IMAGE_ORIGINS=["https://images.example.com"]):
        assert "<img" in shown(sent)
    assert "<img" not in shown(sent)
    Rendering.objects.update(html={"0": "old"})
    assert "old" in shown(sent)
    monkeypatch.setattr(kept, "_FORMAT", "another")
    assert "old" not in shown(sent)
    assert Rendering.objects.count() == 1


def test_a_running_answer_is_shown_as_it_is() -> None:
    sent = ask(own())
    say(sent.generation, "# Not yet")
    assert "# Not yet" in shown(sent)
    assert not Rendering.objects.exists()


def test_without_the_extra_answers_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "is_installed", lambda: False)
    sent = answered("Hi", ANSWER)
    assert "# Hello" in shown(sent)
    assert "markdown.css" not in render("{% llmstream_assets %}")
    assert "formulas" not in render("{% llmstream_chat chat %}", user("ann"), chat=sent.conversation)


def test_what_is_stripped_leaves_no_rendering_behind() -> None:
    sent = answered("Hi", ANSWER)
    shown(sent)
    with locked(sent.conversation.pk) as log:
        strip(log)
    assert not Rendering.objects.exists()


def test_what_was_changed_while_it_was_rendered_is_not_kept() -> None:
    sent = answered("Hi", ANSWER)
    _, missing = kept._look_up(state(sent.conversation)["messages"])
    fresh = kept._render(missing)
    with locked(sent.conversation.pk) as log:
        strip(log)
    kept._keep(fresh)
    assert not Rendering.objects.exists()


def test_the_origins_of_the_documentation_are_understood() -> None:
    sent = answered("Hi", "![a](https://images.example.com/a.png)")
    with changed(**snippet("docs/markdown.md", "IMAGE_ORIGINS")["LLMSTREAM"]):
        assert 'src="https://images.example.com/a.png"' in shown(sent)


async def test_the_formulas_of_an_answer(running: Engine) -> None:
    client, _ = await run_db(signed_in)
    sent = await run_db(answered, "Hi", ANSWER)
    assert await formulas(client, sent.answer.public_id) == [
        {"source": "$x$", "mathml": ["math", {"display": "inline"}, ["mrow", {}, ["mi", {}, "x"]]]}
    ]
    prompt = await run_db(Message.objects.get, conversation=sent.conversation, role="user")
    assert await formulas(client, prompt.public_id) == []
    going_on = await run_db(ask, sent.conversation)
    assert await formulas(client, going_on.answer.public_id) == []


async def formulas(client: AsyncClient, message: str) -> Any:
    """Ask for the formulas of a message."""
    response = await client.get(f"{ROOT}messages/{message}/formulas/")
    assert response.status_code == 200
    return orjson.loads(response.content)["formulas"]
