"""The HTTP surface as a signed-in page uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from .clients import ACTIVE, Call, http_client
from .events import text_of
from .servers import Account


@dataclass(frozen=True, slots=True)
class Sent:
    """A prompt that was accepted: the ids, and the address that replays its answer from the start."""

    conversation: str
    generation: str
    message: str
    last_event_id: str
    urls: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Api:
    """One account at one server (or at a proxy in front of it)."""

    base: str
    account: Account

    def url(self, path: str) -> str:
        """The absolute address of a path below the mount point, or of an absolute path."""
        return f"{self.base}{path}" if path.startswith("/") else f"{self.base}/llmstream/{path}"

    def call(self, path: str, **options: Any) -> Call:
        """An event stream request with this account's cookies."""
        return Call(self.url(path), cookies=self.account.cookies, **options)

    def post_call(self, conversation: str, content: str, **body: Any) -> Call:
        """The POST whose response streams the answer."""
        path = f"conversations/{conversation}/messages/"
        return self.call(path, method="POST", headers=self.account.headers, json={"content": content, **body})

    def at(self, base: str) -> Api:
        """The same account elsewhere."""
        return Api(base, self.account)

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request with session and CSRF token; ``headers`` go over those."""
        headers = {**self.account.headers, **options.pop("headers", {})}
        cookies = options.pop("cookies", self.account.cookies)
        timeout = options.pop("timeout", 30)
        async with http_client(cookies=cookies, timeout=timeout) as client:
            return await client.request(method, self.url(path), headers=headers, **options)

    async def json(self, method: str, path: str, *, status: int = 200, **options: Any) -> dict[str, Any]:
        """One request that must answer with ``status``; return the body."""
        response = await self.request(method, path, **options)
        assert response.status_code == status, f"{method} {path}: {response.status_code} {response.text[:500]}"
        body = response.json()
        assert isinstance(body, dict)
        return body

    async def conversation(self, **body: Any) -> str:
        """Create a conversation; return its id."""
        return str((await self.json("POST", "conversations/", status=201, json=body))["id"])

    async def send(self, content: str, *, to: str = "", **body: Any) -> Sent:
        """Send a prompt, to a new conversation unless ``to`` names one."""
        conversation = to or await self.conversation()
        path = f"conversations/{conversation}/messages/"
        made = await self.json("POST", path, status=201, json={"content": content, **body})
        generation = made["generation"]
        return Sent(conversation, generation["id"], generation["message"], made["last_event_id"], made["urls"])

    async def state(self, conversation: str) -> dict[str, Any]:
        """The conversation as REST shows it."""
        return await self.json("GET", f"conversations/{conversation}/")

    async def when(
        self, conversation: str, accept: Callable[[dict[str, Any]], bool], *, patience: float = 30.0
    ) -> dict[str, Any]:
        """The conversation's state as soon as ``accept`` takes it; raises TimeoutError."""
        async with asyncio.timeout(patience):
            while True:
                state = await self.state(conversation)
                if accept(state):
                    return state
                await asyncio.sleep(0.03)

    async def settled(self, conversation: str, *, patience: float = 30.0) -> dict[str, Any]:
        """The conversation's state once nothing in it is active."""
        return await self.when(
            conversation,
            lambda state: not any(generation["status"] in ACTIVE for generation in state["generations"]),
            patience=patience,
        )

    async def shown(self, sent: Sent, *, chars: int = 1, patience: float = 30.0) -> dict[str, Any]:
        """The conversation's state once the answer has some text."""
        return await self.when(
            sent.conversation, lambda state: len(text_of(find(state, sent.message))) >= chars, patience=patience
        )

    async def stored(self, conversation: str, message: str) -> dict[str, Any]:
        """One message of a settled conversation."""
        return find(await self.settled(conversation), message)

    async def stop(self, generation: str) -> dict[str, Any]:
        """Stop a generation; return it."""
        found = (await self.json("POST", f"generations/{generation}/stop/"))["generation"]
        assert isinstance(found, dict)
        return found


def find(state: Mapping[str, Any], message: str) -> dict[str, Any]:
    """The message with this id in a conversation's state."""
    found = [item for item in state["messages"] if item["id"] == message]
    assert len(found) == 1, f"{message} not among {[item['id'] for item in state['messages']]}"
    return dict(found[0])


def generation_of(state: Mapping[str, Any], generation: str) -> dict[str, Any]:
    """The generation with this id in a conversation's state."""
    found = [item for item in state["generations"] if item["id"] == generation]
    assert len(found) == 1
    return dict(found[0])


def error_code(response: httpx.Response, status: int) -> str:
    """Assert that a response is a whole error envelope with this status; return its code."""
    assert response.status_code == status, f"{response.status_code} {response.text[:500]}"
    assert response.headers["content-type"].startswith("application/json"), response.headers
    error = response.json()["error"]
    assert set(error) == {"code", "status", "message", "temporary", "retry_after_ms"}
    assert error["status"] == status
    assert "Traceback" not in response.text
    return str(error["code"])


def prompt(content: Any, **more: Any) -> dict[str, Any]:
    """A message body."""
    return {"content": content, **more}
