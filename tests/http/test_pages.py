"""A conversation without JavaScript: the page, its forms, and the answer that streams into it."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.sessions.models import Session
from django.test import AsyncClient

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.endings import stop
from llmstream.models import Conversation, Generation, Membership
from tests.admin.staff import answered, say
from tests.http.client import TOKEN, Call, browser, conversation_path, own, signed_in_sync
from tests.support import Upstream, ask, changed, ended, site, until, user, within

pytestmark = pytest.mark.django_db(transaction=True)

HTML = {"Accept": "text/html,application/xhtml+xml"}
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def client(running: Engine) -> AsyncClient:
    """Ann's browser."""
    return await run_db(browser, "ann")


async def post(client: AsyncClient, found: Conversation, **form: str) -> Any:
    """Press a button of the page."""
    body = urlencode({"csrfmiddlewaretoken": TOKEN, **form}).encode()
    return await client.generic("POST", conversation_path(found, "page/"), body, FORM, headers=HTML)


async def page(client: AsyncClient, found: Conversation) -> str:
    """Return the whole page once it has ended."""
    response = await client.get(conversation_path(found, "page/"), headers=HTML)
    assert response.status_code == 200
    return await within(_whole(response))


async def _whole(response: Any) -> str:
    if response.streaming:
        return b"".join([chunk async for chunk in response]).decode()
    return str(response.content.decode())


def articles(html: str) -> list[str]:
    """Return who speaks in which article of a page, live ones marked."""
    return re.findall(r'<article class="llm-message(?: llm-live)?"[^>]*data-role="(\w+)"', html)


async def test_a_prompt_is_posted_and_its_answer_streams_into_the_page(client: AsyncClient, app: Any) -> None:
    upstream = Upstream()
    found = await run_db(own)
    with site(upstream):
        sent = await post(client, found, content="What is\r\n<b>new</b>?")
        assert (sent.status_code, sent["Location"]) == (303, conversation_path(found, "page/"))
        call = Call(client, conversation_path(found, "page/"), app=app, accept="text/html")
        upstream.say("# Noth")
        reading = asyncio.create_task(call())
        await until(lambda: b"# Noth" in call.body)
        assert call.headers["content-type"] == "text/html; charset=utf-8"
        assert b"What is\n&lt;b&gt;new&lt;/b&gt;?" in call.body
        assert b"</html>" not in call.body
        assert b"Stop the answer" in call.body
        upstream.say("ing <i>")
        await until(lambda: b"ing &lt;i&gt;" in call.body)
        upstream.finish()
        await within(reading)
    html = call.body.decode()
    assert call.complete
    assert html.index("# Nothing &lt;i&gt;") < html.index('<h3 dir="auto">Nothing') < html.index("</html>")
    assert articles(html) == ["user", "assistant", "assistant"]
    # A reload shows the same, without what was on its way.
    again = await page(client, found)
    assert "# Nothing" not in again
    assert articles(again) == ["user", "assistant"]


async def test_the_stop_button_ends_the_answer_and_retry_writes_it_anew(client: AsyncClient) -> None:
    upstream = Upstream()
    found = await run_db(own)
    with site(upstream):
        await post(client, found, content="Hello")
        await within(upstream.called.wait())
        generation = await run_db(Generation.objects.get)
        assert (await post(client, found, stop=generation.public_id)).status_code == 303
        await ended(generation)
        html = await page(client, found)
        assert "Stopped." in html
        assert f'name="retry" value="{generation.public_id}"' in html
    with site():
        assert (await post(client, found, retry=generation.public_id)).status_code == 303
        newest = await run_db(Generation.objects.latest, "pk")
        await ended(newest)
        html = await page(client, found)
    assert "Version 2 of 2" in html
    assert "Retry" not in html


@pytest.mark.parametrize(
    ("form", "status", "message"),
    [
        ({"content": "  "}, 400, "content must not be empty."),
        ({"content": "<b>" * 40}, 413, "content may have at most 100 characters."),
        ({"content": "Hi", "model": "nosuch"}, 400, "model"),
    ],
)
async def test_what_is_refused_is_told_and_stays_in_the_box(
    client: AsyncClient, form: dict[str, str], status: int, message: str
) -> None:
    found = await run_db(own)
    with changed(MAX_PROMPT_CHARS=100):
        response = await post(client, found, **form)
    html = response.content.decode()
    assert response.status_code == status
    assert message in re.findall(r'role="alert">(.*?)<', html)[0]
    assert f"required>{form['content'].replace('<', '&lt;').replace('>', '&gt;')}</textarea>" in html
    assert not await run_db(Generation.objects.exists)


async def test_a_second_prompt_meets_the_answer_at_work(client: AsyncClient) -> None:
    sent = await run_db(ask, await run_db(own))
    response = await post(client, sent.conversation, content="Me, too")
    assert response.status_code == 409
    assert ">Me, too</textarea>" in response.content.decode()


async def test_a_form_that_is_sent_twice_asks_once(client: AsyncClient) -> None:
    found = await run_db(own)
    with site():
        for _ in range(2):
            assert (await post(client, found, content="Hello", client_id="once")).status_code == 303
            await ended(await run_db(Generation.objects.get))


async def test_a_decision_is_made_by_a_button(client: AsyncClient) -> None:
    sent = await run_db(answered)
    tool = {"type": "tool", "call": "c", "tool": "book", "input": {"city": "<Lisbon>"}, "step": 1}
    waiting = {**tool, "approval": {"decision": None, "by": None, "expires_at": None}}
    await run_db(sent.conversation.messages.filter(role="assistant").update, parts=[waiting])
    # Over, there is nothing to decide.
    assert 'value="approve"' not in await page(client, sent.conversation)
    response = await post(client, sent.conversation, generation=sent.generation.public_id, call="c", decision="approve")
    assert response.status_code == 404


async def test_who_may_read_gets_no_form(client: AsyncClient) -> None:
    sent = await run_db(answered, owner="bob")
    await run_db(lambda: Membership.objects.create(conversation=sent.conversation, user=user("ann"), role="reader"))
    html = await page(client, sent.conversation)
    assert "<form" not in html
    assert "Hello there" in html
    response = await post(client, sent.conversation, content="Hi")
    assert response.status_code == 403


async def test_browsers_are_answered_with_pages(client: AsyncClient) -> None:
    sent = await run_db(answered, owner="bob")
    path = conversation_path(sent.conversation, "page/")
    missing = await client.get(path, headers=HTML)
    assert (missing.status_code, missing["Content-Type"].partition(";")[0]) == (404, "text/html")
    visitor = await AsyncClient().get(path, headers=HTML)
    assert (visitor.status_code, visitor["Location"]) == (302, f"/accounts/login/?next={path}")
    forged = await client.generic("POST", path, b"content=Hi", FORM, headers=HTML)
    assert (forged.status_code, forged["Content-Type"].partition(";")[0]) == (403, "text/html")
    assert "script" not in forged.content.decode()


async def test_a_page_whose_reader_is_put_out_ends_whole(client: AsyncClient, running: Engine) -> None:
    sent = await run_db(ask, await run_db(own))
    with changed(ACCESS_INTERVAL=0.02, POLL_INTERVAL=0.01):
        call = Call(client, conversation_path(sent.conversation, "page/"), accept="text/html")
        reading = asyncio.create_task(call())
        await until(lambda: running.streams)
        await run_db(lambda: Session.objects.all().delete())
        await within(reading)
    assert call.complete
    assert "sign" in call.body.decode().lower()
    assert call.body.decode().rstrip().endswith("</html>")


async def test_too_many_pages_end_at_once_and_whole(client: AsyncClient) -> None:
    sent = await run_db(ask, await run_db(own))
    with changed(MAX_STREAMS=0):
        html = await page(client, sent.conversation)
    assert html.rstrip().endswith("</html>")
    assert "llm-live" in html


def test_under_wsgi_the_page_loads_itself_again() -> None:
    client = signed_in_sync()
    sent = ask(own())
    say(sent.generation, "So far")
    path = conversation_path(sent.conversation, "page/")
    html = client.get(path, headers=HTML).content.decode()
    assert '<meta http-equiv="refresh"' in html
    assert "So far" in html
    stop(sent.generation.pk)
    assert "refresh" not in client.get(path, headers=HTML).content.decode()
