"""A deployment as one of its users reaches it: requests, streams, sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Final
from urllib.parse import urlencode

from ..doctor.line import CLOSE, SocketFrame, SocketLine
from ..doctor.site import Answer, Site
from ..doctor.stream import Arrival, Stream
from ..events import MESSAGE_END, PART_KINDS

#: Seconds that an answer may take.
PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response; ``data`` is None when the body is no JSON."""

    status: int
    headers: Mapping[str, str]
    data: Any

    @property
    def code(self) -> str:
        """The code of the error envelope."""
        return str(self.data["error"]["code"])


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt that was taken: the ids, and the position before it."""

    conversation: str
    generation: str
    message: str
    before: str


class Deployment:
    """What one user does there. ``model`` is asked, the site's default when empty."""

    def __init__(self, site: Site, model: str = "") -> None:
        self.site = site
        self._model = {"model": model} if model else {}

    def anonymous(self) -> Deployment:
        """Return the same deployment as nobody in particular sees it."""
        token = f"csrftoken={self.site.csrf_token}"
        return Deployment(replace(self.site, cookie=token))

    def get(self, url: str, **headers: str) -> Reply:
        """Ask for JSON."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return _reply(self.site.get(url, {"Accept": "application/json", **given}))

    def send(self, method: str, url: str, body: Mapping[str, Any] | None = None, **headers: str) -> Reply:
        """Send JSON."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return _reply(self.site.write(method, url, body or {}, given))

    def conversation(self) -> str:
        """Create a conversation; return its id."""
        reply = self.send("POST", "conversations/", {"title": "llmstream.testing"})
        assert reply.status == 201, f"a conversation cannot be created: {reply}"
        return str(reply.data["id"])

    def delete(self, conversation: str) -> Reply:
        """Delete a conversation."""
        return self.send("DELETE", f"conversations/{conversation}/")

    def prompt(self, content: str, **body: Any) -> dict[str, Any]:
        """Return the body of a prompt."""
        return {"content": content, **self._model, **body}

    def ask(self, content: str, conversation: str, **body: Any) -> Asked:
        """Send a prompt, without waiting for its answer."""
        reply = self.send("POST", f"conversations/{conversation}/messages/", self.prompt(content, **body))
        assert reply.status == 201, f"a prompt is refused: {reply}"
        generation = reply.data["generation"]
        return Asked(conversation, generation["id"], generation["message"], reply.data["last_event_id"])

    def message(self, asked: Asked) -> dict[str, Any]:
        """Return an answer as the state of its conversation has it."""
        state = self.get(f"conversations/{asked.conversation}/").data
        found: dict[str, Any] = next(each for each in state["messages"] if each["id"] == asked.message)
        return found

    def events(
        self,
        url: str,
        until: Callable[[Arrival], bool] = lambda arrival: arrival.type == MESSAGE_END,
        body: Mapping[str, Any] | None = None,
        **headers: str,
    ) -> list[Arrival]:
        """Read a stream up to the first event that is wanted, then cut it; return its events."""
        with Stream(self.site, url, body, **headers) as stream:
            assert stream.answer.status == 200, f"{url} is answered with {stream.answer.status}"
            wanted = stream.wait(until, monotonic() + PATIENCE)
            found = [arrival for arrival in stream.arrivals if arrival.data is not None]
        assert wanted, f"{url} did not come to what was waited for: {[arrival.type for arrival in found]}"
        return found[: found.index(wanted) + 1]

    def past_the_end(self, url: str) -> int:
        """Return the status of a stream."""
        answer = self.site.get(url, {"Accept": "text/event-stream"})
        answer.close()
        return answer.status


class Room:
    """A socket with frames that are answered."""

    def __init__(self, line: SocketLine) -> None:
        self.line = line
        self.frames: list[dict[str, Any]] = []
        line.wait(PATIENCE)

    def ask(self, kind: str, **members: Any) -> dict[str, Any]:
        """Send a frame; return the one that answers it."""
        ref = f"{kind}-{len(self.frames)}"
        self.line.send(kind, ref=ref, **members)
        return self.until(lambda frame: frame.get("ref") == ref)

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first frame from here on that is wanted."""
        while (frame := self.line.read()).opcode != CLOSE:
            if frame.data:
                self.frames.append(frame.data)
                if wanted(frame.data):
                    return frame.data
        raise AssertionError(f"the socket was closed with {frame.close_code}, after {self.frames}")

    def closed(self) -> SocketFrame:
        """Return the frame that closes the socket."""
        while (frame := self.line.read()).opcode != CLOSE:
            pass
        return frame


def text_of(events: list[Arrival]) -> str:
    """Return what the deltas add up to."""
    return "".join(event.data["delta"] for event in events if event.type in PART_KINDS)


def parts_text(message: Mapping[str, Any]) -> str:
    """Return the same of a stored message."""
    return "".join(part["text"] for part in message["parts"] if part["type"] in PART_KINDS.values())


def after(url: str, position: str) -> str:
    """Return the address from a position on."""
    return f"{url}?{urlencode({'last_event_id': position})}"


def _reply(answer: Answer) -> Reply:
    with closing(answer):
        body = answer.response.read()
        headers = {name.lower(): value for name, value in answer.response.getheaders()}
    try:
        data = json.loads(body)
    except ValueError:
        data = None
    return Reply(answer.status, headers, data)
