"""A conversation as a page that needs no JavaScript: a form posts, and the answer streams as HTML."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth.views import redirect_to_login
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import pgettext_lazy

from .. import commands
from ..access import Access
from ..conf import get_settings
from ..database import run_db
from ..engine import Engine, get_engine
from ..events import EventId, new_public_id
from ..exceptions import CSRFFailed, LLMStreamError, NotAuthenticated, NotFound, UnsupportedMediaType
from ..fields import Fields
from ..lookup import find_conversation
from ..markup import Kept, arendered
from ..models import Conversation, Generation, Membership, Message
from ..permissions import Requester, get_policy
from ..readers import Start, follow_from
from ..snapshot import state
from ..widget import branch_of, messages_on_show, pending_calls
from .endpoint import Endpoint, body_length, serving_engine
from .live_answer import FORMAT, LiveAnswer
from .streams import EventStream, respond

logger = logging.getLogger("llmstream.http")

_HTML: Final = "text/html"
_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
#: Where the answer at work stands in the page.
_MARK: Final = "<!--llmstream-live-->"
#: Seconds after which a page of a server that cannot stream is loaded again.
_REFRESH: Final = 3
#: A comment, which shows nothing.
_HEARTBEAT: Final = b"<!---->"
_LONG: Final = pgettext_lazy("llm-chat", "This page has been open for long. Load it again to read on.")
_BROKEN: Final = pgettext_lazy("llm-chat", "The connection broke off. Load the page again to read on.")


@dataclass(frozen=True, slots=True)
class Seen:
    """A conversation as somebody sees it at one moment."""

    requester: Requester
    conversation: Conversation
    state: dict[str, Any]
    access: Access

    @property
    def running(self) -> dict[str, Any] | None:
        """The first answer on the branch that is at work or waits for its turn."""
        generations = {item["id"]: item for item in self.state["generations"]}
        active = (item for item in branch_of(self.state) if item["status"] == Message.Status.RUNNING)
        return next((item for item in active if generations[item["generation"]]["status"] != "waiting"), None)


class ConversationPage(Endpoint):
    """``GET`` and ``POST conversations/<id>/page/``."""

    async def get(self, request: HttpRequest, conversation: str) -> HttpResponseBase:
        """Show the conversation; an answer at work streams into the page."""
        return await self._answer(request, await self.work(_look, conversation))

    async def post(self, request: HttpRequest, conversation: str) -> HttpResponseBase:
        """Send a prompt, or do what another button of the page says, and show the page again."""
        try:
            await self.work(_act, serving_engine(request), conversation)
        except (NotAuthenticated, NotFound, CSRFFailed):
            raise
        except LLMStreamError as error:
            if not _wants_html(request):
                raise
            return await self._answer(request, await self.work(_look, conversation), error)
        # By GET, so that a reload sends nothing again.
        return HttpResponse(status=303, headers={"Location": reverse("llmstream:page", args=[conversation])})

    def check_body(self, request: HttpRequest) -> None:
        """Take a form of the length of a prompt."""
        if body_length(request, get_settings().max_body_bytes) and request.content_type not in _FORMS:
            raise UnsupportedMediaType("Send a form.")

    def failure(self, request: HttpRequest, error: LLMStreamError) -> HttpResponse:
        """Answer browsers with a page, or with the way to sign in."""
        response = super().failure(request, error)
        if not _wants_html(request):
            return response
        if isinstance(error, NotAuthenticated) and request.method == "GET":
            return redirect_to_login(request.get_full_path())
        html = render_to_string("llmstream/page_error.html", {"error": error.envelope()["error"]})
        headers = {name: response[name] for name in ("Allow", "Retry-After") if name in response}
        return HttpResponse(html, status=error.status, headers={**_HEADERS, **headers})

    async def _answer(self, request: HttpRequest, seen: Seen, error: LLMStreamError | None = None) -> HttpResponseBase:
        live = seen.running if error is None and isinstance(request, ASGIRequest) else None
        head, _, tail = await _drawn(request, seen, live, error)
        if live is None:
            return HttpResponse(head, status=error.status if error else 200, headers=_HEADERS)

        async def close() -> str:
            found = await run_db(_look, request, seen.conversation.public_id)
            _, article, rest = await _drawn(request, found, live, None)
            return article + rest

        start = await run_db(_start, seen, live["generation"])
        shown = next(item for item in _shown(seen) if item["id"] == live["id"])
        stream = PageStream(get_engine(), start, seen.access, LiveAnswer(shown), (head, tail), close)
        return respond(request, stream, f"{_HTML}; charset=utf-8")


class PageStream(EventStream):
    """A page with an answer that grows in it. Whatever happens, the page is whole in the end."""

    def __init__(
        self,
        engine: Engine,
        start: Start,
        access: Access,
        answer: LiveAnswer,
        page: tuple[str, str],
        close: Callable[[], Awaitable[str]],
    ) -> None:
        super().__init__(engine, start, access, FORMAT)
        self._answer = answer
        self._head, self._tail = page
        self._close = close

    def refused(self, error: LLMStreamError) -> bytes:
        """Return the page as it stands, and why it does not go on."""
        note = error.envelope()["error"]["message"]
        return (self._head + self._answer.begin() + self._answer.end(note) + self._tail).encode()

    async def _frames(self) -> AsyncGenerator[bytes, None]:
        yield (self._head + self._answer.begin()).encode()
        note, rest = "", self._tail
        try:
            async with aclosing(self._reader.chunks()) as chunks:
                async for events in chunks:
                    if self._refusal:
                        raise self._refusal
                    if grown := "".join(map(self._answer.apply, events or ())):
                        yield grown.encode()
                    elif self._engine.loop.time() - self._moved >= get_settings().heartbeat:
                        yield _HEARTBEAT
                    if self._answer.waits:
                        break
                    if self._engine.loop.time() >= self._deadline and not self._reader.ended:
                        note = str(_LONG)
                        break
            rest = rest if note else await self._close()
        except LLMStreamError as error:
            note = error.envelope()["error"]["message"]
        except Exception:
            logger.exception("A page broke off")
            note = str(_BROKEN)
        yield (self._answer.end(note) + rest).encode()


def _wants_html(request: HttpRequest) -> bool:
    return _HTML in request.headers.get("Accept", "")


def _look(request: HttpRequest, public_id: str) -> Seen:
    requester = get_policy().identify(request)
    conversation = find_conversation(requester, public_id)
    return Seen(requester, conversation, state(conversation), Access.of(request, requester))


def _start(seen: Seen, generation: str) -> Start:
    position = EventId.parse(seen.state["last_event_id"])
    if position is None or (found := Generation.objects.filter(public_id=generation).first()) is None:
        raise NotFound
    return follow_from(seen.conversation, position.seq, found)


def _act(request: HttpRequest, engine: Engine, conversation: str) -> None:
    requester = get_policy().identify(request)
    form = {name: value for name, value in request.POST.items() if isinstance(value, str) and value}
    if generation := form.get("stop"):
        commands.stop(requester, generation)
    elif generation := form.get("retry"):
        commands.retry(requester, engine, generation, Fields({}))
    elif (decision := form.get("decision")) and (call := form.get("call")):
        commands.decide(requester, form.get("generation", ""), call, decision)
    else:
        given: dict[str, Any] = {name: form[name] for name in ("content", "client_id", "model") if name in form}
        # Forms send lines as mail does.
        given |= {"content": form.get("content", "").replace("\r\n", "\n")}
        commands.send(requester, engine, conversation, Fields(given))


async def _drawn(
    request: HttpRequest, seen: Seen, live: Mapping[str, Any] | None, error: LLMStreamError | None
) -> tuple[str, str, str]:
    """Return the page up to the answer at work, that answer as it stands, and the rest of the page."""
    html = await arendered(branch_of(seen.state))
    return await run_db(_draw, request, seen, html, live["id"] if live else "", error)


def _draw(
    request: HttpRequest, seen: Seen, html: Mapping[str, Kept], live: str, error: LLMStreamError | None
) -> tuple[str, str, str]:
    messages = _shown(seen, html)
    policy, settings = get_policy(), get_settings()
    newest = messages[-1]["generation"] if messages else None
    last: dict[str, Any] = next((item for item in seen.state["generations"] if item["id"] == newest), {})
    default = settings.model(seen.conversation.model) or settings.model()
    context = {
        "conversation": seen.conversation,
        "messages": messages,
        "truncated": seen.state["truncated"],
        "live": live,
        "mark": _MARK,
        "refresh": _REFRESH if seen.running and not isinstance(request, ASGIRequest) else None,
        "may_write": policy.role(seen.requester, seen.conversation) != Membership.Role.READER,
        "stoppable": seen.running["generation"] if seen.running else "",
        "retryable": last.get("id", "") if last.get("status") in Generation.RETRYABLE else "",
        "pending": pending_calls(messages),
        "models": {key: model.label or key for key, model in settings.models.items()},
        "model": request.POST.get("model") or (default[0] if default else ""),
        "client_id": new_public_id(),
        "error": error.envelope()["error"] if error else None,
        "content": request.POST.get("content", "") if error else "",
    }
    head, _, tail = render_to_string("llmstream/page.html", context, request).partition(_MARK)
    article = next((item for item in messages if item["id"] == live), None)
    shown = render_to_string("llmstream/message.html", {"message": article}, request) if article else ""
    return head, shown, tail


def _shown(seen: Seen, html: Mapping[str, Kept] | None = None) -> list[dict[str, Any]]:
    me = str(seen.requester.user.pk) if seen.requester.is_authenticated else ""
    return messages_on_show(seen.state, me, html or {})
