"""What models get of the files that people attach."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from django.core.files.storage import InMemoryStorage

from llmstream.context import NewestTurns
from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.generations.endings import stop
from llmstream.generations.prompts import Again, Sent, retry
from llmstream.models import Conversation, UsageRecord
from llmstream.providers import ChatFile, ChatMessage, Finish, ProviderRequest, ToolCall
from tests.files import PDF, PNG, attaching, kept, uploaded
from tests.http.client import own, signed_in
from tests.support import Upstream, ask, ask_in, ended, model, user, within

pytestmark = pytest.mark.django_db(transaction=True)


class Model:
    """Remembers what it was asked, and answers."""

    def __init__(self) -> None:
        self.requests: list[ProviderRequest] = []

    async def __call__(self, request: ProviderRequest) -> AsyncGenerator[Any, None]:
        """Answer."""
        self.requests.append(request)
        yield "Seen."
        yield Finish("stop")

    @property
    def turns(self) -> list[tuple[str, list[bytes]]]:
        """What the user's turns of the last call held."""
        turns = [turn for turn in self.requests[-1].messages if turn.role == "user"]
        # In base64 it must be there already: nothing is read on the event loop.
        assert all("base64" in vars(file) or file.text is not None for turn in turns for file in turn.files)
        return [(turn.content, [file.data for file in turn.files]) for turn in turns]


async def say(running: Engine, found: Conversation, content: str, *ids: str, **fields: Any) -> Sent:
    """Send a prompt with attachments, and wait for its answer."""
    author = await run_db(user)
    sent = await ask_in(running, found, content, attachments=ids, author=author, **fields)
    assert (await ended(sent.generation)).status == "completed"
    return sent


async def attached(found: Conversation, *args: Any) -> str:
    """Upload a file, and return its id."""
    client, _ = await run_db(signed_in)
    public_id: str = (await uploaded(client, found, *args))["id"]
    return public_id


async def test_a_model_gets_the_files_of_its_branch_that_it_takes(running: Engine) -> None:
    seen, found = Model(), await run_db(own)
    with attaching(seen, takes=["image/*"], ATTACHMENTS=["application/pdf"]):
        image, document = await attached(found), await attached(found, PDF, "a.pdf", "application/pdf")
        first = await say(running, found, "Look", image, document)
        told = "Look\n\n[Attached file a.pdf: not sent]"
        assert seen.turns == [(told, [PNG])]
        await say(running, found, "And?")
        assert seen.turns == [(told, [PNG]), ("And?", [])]
        await say(running, found, "", document, edits=first.message.public_id)
        assert seen.turns == [("[Attached file a.pdf: not sent]", [])]


async def test_another_model_gets_other_files_and_a_retry_gets_them_again(running: Engine) -> None:
    seen, blind, found = Model(), Model(), await run_db(own)
    both = {"default": model(seen, ATTACHMENTS=["image/*"]), "blind": model(blind)}
    with attaching(models=both):
        sent = await say(running, found, "", await attached(found))
        assert seen.turns == [("", [PNG])]
        for key, expected in (("blind", ("[Attached file photo.png: not sent]", [])), ("default", ("", [PNG]))):
            again = await run_db(retry, sent.generation.pk, Again(model=key))
            assert again.claim
            running.start(again.claim)
            await ended(again.generation)
            assert (blind if key == "blind" else seen).turns == [expected]
        assert len(seen.requests) == 2


async def test_a_prompt_that_waited_has_its_files(running: Engine) -> None:
    upstream, seen, found = Upstream(), Model(), await run_db(own)
    with attaching(models={"default": model(upstream), "other": model(seen, ATTACHMENTS=["image/*"])}, BUSY="queue"):
        await ask_in(running, found)
        author, image = await run_db(user), await attached(found)
        waiting = await ask_in(running, found, "Look", attachments=[image], author=author, model="other")
        await within(upstream.called.wait())
        upstream.finish()
        await ended(waiting.generation)
        assert seen.turns == [("Hi", []), ("Look", [PNG])]


async def test_of_too_many_files_the_newest_are_sent(running: Engine) -> None:
    seen, found = Model(), await run_db(own)
    with attaching(seen, MAX_CONTEXT_FILE_BYTES=len(PNG) + 3):
        await say(running, found, "One", await attached(found))
        await say(running, found, "Two", await attached(found), await attached(found, b"abc", "c.txt", "text/plain"))
        assert seen.turns == [("One\n\n[Attached file photo.png: not sent]", []), ("Two", [PNG, b"abc"])]


async def test_of_a_lost_file_the_model_is_told_and_a_storage_that_fails_fails_the_answer(
    running: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, found = Model(), await run_db(own)
    with attaching(seen) as storage:
        await say(running, found, "Look", await attached(found))
        storage.delete(f"llmstream/{kept(storage)[0]}")
        await say(running, found, "And?")
        assert seen.turns == [("Look\n\n[Attached file photo.png: not sent]", []), ("And?", [])]

        def fail(*args: Any) -> None:
            raise PermissionError("no way in")

        monkeypatch.setattr(InMemoryStorage, "_open", fail)
        sent = await ask_in(running, found, "Still?")
        assert ((await ended(sent.generation)).status, len(seen.requests)) == ("failed", 2)


async def test_a_file_is_read_once_in_a_loop_of_calls(running: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    original = InMemoryStorage._open  # type: ignore[attr-defined]

    def count(self: Any, name: str, mode: str = "rb") -> Any:
        opened.append(name)
        return original(self, name, mode)

    requests: list[ProviderRequest] = []

    async def loop(request: ProviderRequest) -> AsyncGenerator[Any, None]:
        requests.append(request)
        if len(requests) < 3:
            yield ToolCall(f"call{len(requests)}", "nothing", "{}")
        yield Finish("stop")

    found = await run_db(own)
    with attaching(loop):
        image = await attached(found)
        monkeypatch.setattr(InMemoryStorage, "_open", count)
        await say(running, found, "Look", image)
    assert [request.messages[0].files[0].data for request in requests] == [PNG] * 3
    assert len(opened) == 1


async def test_files_count_in_the_window_and_in_estimates(running: Engine) -> None:
    image = ChatFile("1", "a.png", "image/png", 10, lambda: b"")
    turns = [ChatMessage("user", "a" * 40, files=[image]), ChatMessage("assistant", "b"), ChatMessage("user", "c")]
    request = ProviderRequest("g", "m", turns)
    assert len(await NewestTurns().fit(request, 1_000)) == 1
    assert len(await NewestTurns().fit(request, 2_000)) == 3
    found = await run_db(own)
    with attaching():
        sent = await run_db(ask, found, "Look", attachments=[await attached(found)], author=await run_db(user))
        await run_db(stop, sent.generation.pk)
    assert (await run_db(UsageRecord.objects.get)).input_tokens == 1_601
