"""What is measured: an ASGI application each, the database that it needs, and how a stream is asked of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .client import get, post
from .source import Answer

#: Databases that are prepared once, and the module that prepares them.
TEMPLATES = {
    "peer": "benchmarks.peers.django_app",
    "site": "benchmarks.site.prepare",
    "rooms": "benchmarks.site.prepare_rooms",
}

_COUNT = "SELECT sum(length({0}) - length(replace({0}, '~', ''))) FROM {1}"


@dataclass(frozen=True, slots=True)
class Access:
    """What a browser of the site's user would have: cookies, and the conversations that it may write to.

    ``seats`` are the sessions of other users: each may enter the conversation of the same number, and all of them both
    ``rooms``, of which the first is for the warm-up.
    """

    session: str
    csrf: str
    conversations: list[str]
    seats: list[str] = field(default_factory=list)
    rooms: list[str] = field(default_factory=list)

    @property
    def headers(self) -> list[str]:
        """Headers of a request that is signed in and may write."""
        cookies = f"Cookie: sessionid={self.session}; csrftoken={self.csrf}"
        return [cookies, f"X-CSRFToken: {self.csrf}", "Content-Type: application/json"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A server under measurement, asked by ``GET path``."""

    name: str
    title: str
    application: str
    path: str = "/"
    engine: str = ""
    template: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    #: Cannot keep up beyond the smallest size.
    slow: bool = False
    #: The channel layer that it uses, a key of ``layers.BACKENDS``.
    layer: str = ""

    def stream(self, answer: Answer, number: int, access: Access | None) -> bytes:
        """The request that opens stream ``number``."""
        return get(f"{self.path}?{answer.query}")

    def viewer(self, access: Access | None) -> bytes:
        """The request of one of many viewers."""
        return get("/fan")

    def start(self, answer: Answer, access: Access | None) -> bytes:
        """The request that starts what the viewers see."""
        return post(f"/start?{answer.query}")

    def stored(self) -> tuple[str, ...]:
        """Queries that each count the tokens in one of the places where they are kept."""
        return ()


@dataclass(frozen=True, slots=True)
class Site(Subject):
    """The site with llmstream: a prompt is posted to a conversation, the answer streams in the response."""

    #: Whether an open stream is a reader alone, without an answer that runs.
    reading: bool = False

    def stream(self, answer: Answer, number: int, access: Access | None) -> bytes:
        assert access
        path = f"/llmstream/conversations/{access.conversations[number]}"
        if self.reading:
            return get(f"{path}/events/", access.headers[:1])
        return post(f"{path}/messages/", access.headers, _content(answer))

    def viewer(self, access: Access | None) -> bytes:
        assert access
        return get(f"/llmstream/conversations/{access.conversations[0]}/events/", access.headers[:1])

    def start(self, answer: Answer, access: Access | None) -> bytes:
        assert access
        return prompt(answer, access, access.conversations[0])

    def stored(self) -> tuple[str, ...]:
        return stored_tokens(self.engine)


@dataclass(frozen=True, slots=True)
class Saved(Subject):
    """A view that stores each token."""

    def stored(self) -> tuple[str, ...]:
        return ("SELECT count(*) FROM bench_token",)


@dataclass(frozen=True, slots=True)
class ByHand(Subject):
    """A view that stores the prompt before its answer, and the answer when it is whole."""

    def stream(self, answer: Answer, number: int, access: Access | None) -> bytes:
        assert access
        return post(f"/chats/{access.conversations[number]}/", access.headers, _content(answer))

    def stored(self) -> tuple[str, ...]:
        return (_COUNT.format("text", "bench_turn WHERE role = 'assistant'"),)


def prompt(answer: Answer, access: Access, conversation: str) -> bytes:
    """The request that sends llmstream a prompt, answered before the answer has begun."""
    request = post(f"/llmstream/conversations/{conversation}/messages/", access.headers, _content(answer))
    return request.replace(b"text/event-stream", b"application/json", 1)


def stored_tokens(engine: str) -> tuple[str, ...]:
    """Queries that count the tokens in llmstream's log, and in its messages."""
    data = "data::text" if engine == "postgres" else "data"
    in_log = _COUNT.format(data, "llmstream_event WHERE type = 'text-delta'")
    return in_log, _COUNT.format("text", "llmstream_message")


def _content(answer: Answer) -> bytes:
    return json.dumps({"content": answer.query}).encode()


_DJANGO: dict[str, Any] = {"application": "benchmarks.peers.django_app:app", "template": "peer"}
_SITE: dict[str, Any] = {"application": "benchmarks.site.asgi:application", "template": "site"}
_UPSTREAM = {"BENCH_MODEL": "upstream"}

RAW = Subject("raw", "raw ASGI", "benchmarks.peers.raw:app")
STARLETTE = Subject("starlette", "Starlette", "benchmarks.peers.starlette_app:app")
DJANGO = Subject("django", "Django streaming", engine="sqlite", **_DJANGO)
SAVE_SQLITE = Saved(
    "save-sqlite", "Django, save per token, SQLite", path="/save", engine="sqlite", slow=True, **_DJANGO
)
SAVE_POSTGRES = Saved(
    "save-postgres", "Django, save per token, PostgreSQL", path="/save", engine="postgres", slow=True, **_DJANGO
)
BY_HAND_SQLITE = ByHand("chat-sqlite", "Django, a chat by hand, SQLite", engine="sqlite", **_DJANGO)
BY_HAND_POSTGRES = ByHand("chat-postgres", "Django, a chat by hand, PostgreSQL", engine="postgres", **_DJANGO)
SQLITE = Site("llmstream-sqlite", "**llmstream, SQLite**", engine="sqlite", **_SITE)
POSTGRES = Site("llmstream-postgres", "**llmstream, PostgreSQL**", engine="postgres", **_SITE)
READER = Site("llmstream-reader", "**llmstream, reader alone**", engine="sqlite", reading=True, **_SITE)

SDK = Subject("starlette-sdk", "Starlette + openai package", "benchmarks.peers.starlette_app:app", path="/sdk")
SQLITE_UPSTREAM = Site("llmstream-sqlite", "**llmstream, SQLite**", engine="sqlite", env=_UPSTREAM, **_SITE)
POSTGRES_UPSTREAM = Site("llmstream-postgres", "**llmstream, PostgreSQL**", engine="postgres", env=_UPSTREAM, **_SITE)
