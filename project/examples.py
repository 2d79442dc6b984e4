"""Examples: what a site may do with a conversation beside the chat page, each a page of its own."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views import View

from llmstream import commands
from llmstream.engine import background_engine
from llmstream.exceptions import LLMStreamError
from llmstream.fields import Fields
from llmstream.models import Conversation, Generation
from llmstream.permissions import get_policy

from .middleware import POLICY

#: Forbids making HTML of strings, too; htmx does nothing else.
STRICT = f"{POLICY}; require-trusted-types-for 'script'"


def begin_conversation(request: HttpRequest, **fields: Any) -> Conversation:
    """Begin a conversation of whoever asks."""
    policy = get_policy()
    requester = policy.identify(request)
    policy.check_create(requester)
    return Conversation.objects.create(owner=requester.user_or_none, **fields)


class Example(LoginRequiredMixin, View):
    """A page with a conversation on it; without one in its address, a button that begins one."""

    name = ""
    policy = STRICT

    def get(self, request: HttpRequest, conversation: str = "") -> HttpResponse:
        """Show the conversation, or the button."""
        policy = get_policy()
        visible = policy.visible(policy.identify(request))
        found = get_object_or_404(visible, public_id=conversation) if conversation else None
        response = render(request, f"examples/{self.name}.html", {"conversation": found, **self.context(found)})
        response.headers["Content-Security-Policy"] = self.policy
        return response

    def post(self, request: HttpRequest) -> HttpResponse:
        """Begin a conversation."""
        return redirect(self.address(begin_conversation(request)))

    def address(self, conversation: Conversation) -> str:
        """Return where a conversation is shown."""
        return reverse(f"example-{self.name}-conversation", args=[conversation.public_id])

    def context(self, conversation: Conversation | None) -> dict[str, Any]:
        """Return what else the page needs."""
        return {}


class BubbleExample(Example):
    """A page about something else, with the chat in its corner."""

    name = "bubble"


class ServerExample(Example):
    """No JavaScript at all: the page that comes with llmstream."""

    name = "server"

    def address(self, conversation: Conversation) -> str:
        """Return the address of that page."""
        return reverse("llmstream:page", args=[conversation.public_id])


class HtmxExample(Example):
    """htmx sends the form, and asks for the transcript for as long as an answer is written."""

    name = "htmx"
    policy = POLICY

    def context(self, conversation: Conversation | None) -> dict[str, Any]:
        """Tell whether an answer is at work."""
        return transcript_context(conversation) if conversation else {}


def transcript_context(conversation: Conversation, error: str = "") -> dict[str, Any]:
    """Return what the piece of the page that htmx exchanges needs."""
    active = conversation.generations.filter(status__in=Generation.ACTIVE).exists()
    return {"conversation": conversation, "active": active, "error": error}


class HtmxTranscript(LoginRequiredMixin, View):
    """The piece of the page that htmx exchanges: GET as it stands, POST ``content`` to send a prompt first."""

    def get(self, request: HttpRequest, conversation: str) -> HttpResponse:
        """Show the transcript."""
        return self._shown(request, conversation)

    def post(self, request: HttpRequest, conversation: str) -> HttpResponse:
        """Send a prompt; the answer runs on, whoever looks."""
        prompt = Fields({"content": request.POST.get("content", "").replace("\r\n", "\n")})
        try:
            commands.send(get_policy().identify(request), background_engine(), conversation, prompt)
        except LLMStreamError as error:
            return self._shown(request, conversation, error.envelope()["error"]["message"])
        return self._shown(request, conversation)

    def _shown(self, request: HttpRequest, conversation: str, error: str = "") -> HttpResponse:
        policy = get_policy()
        found = get_object_or_404(policy.visible(policy.identify(request)), public_id=conversation)
        return render(request, "examples/htmx_transcript.html", transcript_context(found, error))
