"""The demo site's pages: home, sign-in, chat, rooms, the widget, examples and operations."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model, login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import LoginView, RedirectURLMixin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views import View
from django_eventstream import get_current_event_id
from django_eventstream.utils import get_channelmanager

from llmstream.conf import get_settings
from llmstream.contrib.eventstream.channels import OPERATIONS
from llmstream.models import Conversation, Generation
from llmstream.permissions import get_policy
from llmstream.serving import expect_prompt
from llmstream.snapshot import state

from .examples import STRICT, begin_conversation

DEMO_USERS = ("alice", "bob")
CONVERSATIONS_SHOWN = 200
WIDGET_SHOWN = 5
GENERATIONS_SHOWN = 20


def demo_sign_in_allowed() -> bool:
    """Whether people may become a demo user without a password: in development only."""
    return bool(getattr(settings, "DEMO_SIGN_IN", False))


def offered_models() -> list[dict[str, Any]]:
    """Return the models a visitor may pick: key, label, whether it is the default, whether its answers are scripted."""
    site = get_settings()
    default = site.model()
    return [
        {
            "key": key,
            "label": entry.label or key,
            "default": default is not None and key == default[0],
            "scripted": entry.provider.rpartition(".")[2] == "ScriptedProvider",
        }
        for key, entry in site.models.items()
    ]


def home(request: HttpRequest) -> HttpResponse:
    """What this site is, which model answers, and where to go."""
    expect_prompt(request)  # Most who come here go on to the chat.
    default = next((model for model in offered_models() if model["default"]), None)
    return render(request, "home.html", {"model": default, "demo": demo_sign_in_allowed()})


class SignInView(LoginView):
    """The usual form, with one-click buttons beside it where the site allows them."""

    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(demo_users=DEMO_USERS if demo_sign_in_allowed() else (), **kwargs)


class DemoSignInView(RedirectURLMixin, View):
    """Sign in as a demo user by one click: POST ``user``; 404 where the site does not allow it."""

    next_page = "chat"
    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Redirect to ``next`` or the chat; back to the form when the accounts have not been made yet."""
        name = request.POST.get("user", "")
        if not demo_sign_in_allowed() or name not in DEMO_USERS:
            raise Http404
        user = get_user_model().objects.filter(username=name).first()
        if user is None:
            messages.error(request, "There are no demo users yet. Run: python manage.py demo_users")
            return redirect("login")
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        return HttpResponseRedirect(self.get_success_url())


def _context(request: HttpRequest) -> dict[str, Any]:
    """What the scripts of a page need to know in any case."""
    return {
        "models": offered_models(),
        "user": {"id": str(request.user.pk), "name": request.user.get_username()},
        "urls": {
            "api": reverse("llmstream:conversations").removesuffix("conversations/"),
            "chat": reverse("chat"),
            "rooms": reverse("rooms"),
        },
    }


def _visible(request: HttpRequest) -> QuerySet[Conversation]:
    policy = get_policy()
    return policy.visible(policy.identify(request))


@login_required
def chat(request: HttpRequest, conversation: str = "") -> HttpResponse:
    """The chat page with one conversation as it stands, or an empty one.

    The state carries the id of its last event; the page's stream goes on from there, so nothing falls in between.
    """
    expect_prompt(request)
    mine = _visible(request)
    page = {
        "conversation": conversation or None,
        "state": state(get_object_or_404(mine, public_id=conversation)) if conversation else None,
        **_context(request),
    }
    return render(request, "chat.html", {"page": page, "conversations": mine[:CONVERSATIONS_SHOWN]})


@login_required
def rooms(request: HttpRequest) -> HttpResponse:
    """The conversations that are shared with somebody, and a form for a new one."""
    shared = _visible(request).filter(members__isnull=False).distinct().select_related("owner")
    others = [name for name in DEMO_USERS if name != request.user.get_username()]
    return render(
        request,
        "rooms.html",
        {
            "page": _context(request),
            "rooms": shared.prefetch_related("members")[:CONVERSATIONS_SHOWN],
            "others": get_user_model().objects.filter(username__in=others).order_by("username"),
        },
    )


@login_required
def room(request: HttpRequest, conversation: str) -> HttpResponse:
    """A conversation of several people, by one tag."""
    found = get_object_or_404(_visible(request), public_id=conversation)
    last = found.generations.order_by("pk").last()
    default = get_settings().model(last.model if last else found.model) or get_settings().model()
    context = {"conversation": found, "models": offered_models(), "chosen": default[0] if default else ""}
    response = render(request, "room.html", context)
    response.headers["Content-Security-Policy"] = STRICT
    return response


def examples(request: HttpRequest) -> HttpResponse:
    """The ways to put a conversation into a site."""
    return render(request, "examples.html")


@login_required
def operations(request: HttpRequest) -> HttpResponse:
    """What runs on the site, as it stands; the page goes on with the notifications behind it."""
    if not get_channelmanager().can_read_channel(request.user, OPERATIONS):
        raise PermissionDenied
    last = get_current_event_id([OPERATIONS])
    since = timezone.now() - timedelta(days=1)
    active = Generation.objects.filter(status__in=Generation.ACTIVE)
    ended = Generation.objects.filter(ended_at__gte=since)
    newest = Generation.objects.select_related("conversation").order_by("-pk")[:GENERATIONS_SHOWN]
    page = {
        "url": f"{reverse('llmstream_eventstream:operations')}?{urlencode({'lastEventId': last})}",
        "counts": dict.fromkeys(Generation.Status.values, 0)
        | dict(active.values_list("status").annotate(Count("pk")).order_by())
        | dict(ended.values_list("status").annotate(Count("pk")).order_by()),
        "active": dict(active.values_list("public_id", "status")),
        "newest": [
            {
                "generation": found.public_id,
                "conversation": found.conversation.public_id,
                "model": found.model,
                "status": found.status,
                "error": found.error_code,
                "at": found.ended_at or found.created_at,
            }
            for found in newest
        ],
    }
    return render(request, "operations.html", {"page": page})


class WidgetView(LoginRequiredMixin, View):
    """A page of the site with ``<llm-chat>`` on it, under a policy that also forbids making HTML of strings."""

    def get(self, request: HttpRequest, conversation: str = "") -> HttpResponse:
        """Show a conversation, or a form for a new one."""
        mine = _visible(request)
        found = get_object_or_404(mine, public_id=conversation) if conversation else None
        context = {"conversation": found, "conversations": mine[:WIDGET_SHOWN], "models": offered_models()}
        response = render(request, "widget.html", context)
        response.headers["Content-Security-Policy"] = STRICT
        return response

    def post(self, request: HttpRequest) -> HttpResponse:
        """Begin a conversation."""
        model = request.POST.get("model", "")
        chosen = model if model in get_settings().models else ""
        return redirect("widget", begin_conversation(request, model=chosen).public_id)
