"""Generations: what runs and how it went; stop, retry, settle; the recording of each, live or afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson
from asgiref.sync import async_to_sync
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from ..access import Access
from ..database import release_request_connections
from ..exceptions import LLMStreamError
from ..http.streams import stream_response
from ..models import Event, Generation, UsageRecord
from ..permissions import Requester
from ..readers import resume
from ..recording import record, script_of
from .approvals import DECISIONS, answer, waiting_calls
from .base import used
from .content import PERMISSION, log_read, may_read
from .downloads import download
from .figures import FiguresAdmin
from .filters import ConversationOwnerFilter, ErrorFilter, GenerationCostFilter, LeaseFilter, ModelFilter
from .operations import OPERATIONS, Operation, operate


def _acting(operation: Operation) -> Any:
    @admin.action(description=operation.label, permissions=["operate"])
    def act(self: Any, request: HttpRequest, queryset: QuerySet[Generation]) -> None:
        operate(self, request, operation, queryset)

    act.__name__ = f"{operation.name}_selected"
    return act


def _grounds(user: Any) -> list[str]:
    """Return the permission by which somebody may view generations: Django's admin takes either of two."""
    return [name for name in ("llmstream.view_generation", "llmstream.change_generation") if user.has_perm(name)][:1]


@admin.register(Generation)
class GenerationAdmin(FiguresAdmin):
    """``change_generation`` is the permission to stop, retry, settle, and decide on tool calls."""

    list_display = (*("id", "in_conversation", "model", "outcome", "first_token", "took", "cost", "created_at"),)
    list_filter = (
        "status",
        LeaseFilter,
        ErrorFilter,
        ModelFilter,
        ConversationOwnerFilter,
        ("created_at", admin.DateFieldListFilter),
        GenerationCostFilter,
    )
    list_select_related = ("conversation",)
    search_fields = ("public_id",)
    fieldsets = (
        (None, {"fields": ("in_conversation", "to_message", "model", "outcome", "attempt", "created_at")}),
        (None, {"fields": ("first_token", "took", "usage", "events")}),
        (
            _("Details"),
            {
                "classes": ("collapse",),
                "fields": (
                    *("public_id", "finish_reason", "started_at", "first_token_at", "ended_at", "stop_requested_at"),
                    *("compacted_at", "fence", "lease_expires_at", "provider_response_id"),
                ),
            },
        ),
    )
    actions: Any = tuple(_acting(operation) for operation in OPERATIONS.values())

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """What is worked out."""
        return "in_conversation", "to_message", "outcome", "first_token", "took", "usage", "events"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With what the ledger says, worked out for the rows of a page only."""
        usage = UsageRecord.objects.filter(generation=OuterRef("pk")).order_by().values("generation")
        rows = super().get_queryset(request).select_related("conversation", "message")
        listed: QuerySet[Any] = rows.defer("message__text", "message__parts").annotate(
            spent=Subquery(usage.annotate(total=Sum("cost")).values("total"))
        )
        return listed

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may stop, retry and settle."""
        return request.user.has_perm("llmstream.change_generation")

    def figures_of(self, rows: QuerySet[Any]) -> tuple[QuerySet[Generation], QuerySet[UsageRecord]]:
        """The generations, and what the ledger holds of them."""
        return rows, UsageRecord.objects.filter(generation__in=rows.values("pk"))

    def get_urls(self) -> list[URLPattern]:
        """With the recording and the buttons' targets."""
        return [
            self.extra_url("recording", self.recording_view),
            self.extra_url("recording.jsonl", self.jsonl_view),
            self.extra_url("script.json", self.script_view),
            self.extra_url("live", self.live_view),
            self.extra_url("decide", self.decide_view),
            *(self.extra_url(operation.name, self._operation_view(operation)) for operation in OPERATIONS.values()),
            *super().get_urls(),
        ]

    @transaction.non_atomic_requests
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Never in an ATOMIC_REQUESTS transaction: a generation begun by an action must be there for all to see."""
        return super().changelist_view(request, extra_context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """With the buttons that may be pressed."""
        context = {**(extra_context or {}), "may_read": may_read(request)}
        found = self.get_object(request, object_id)
        if found and self.has_operate_permission(request):
            context["operations"] = [
                {"label": operation.label, "url": self.url(operation.name, found.pk)}
                for operation in OPERATIONS.values()
                if operation.applies(found)
            ]
            context["waiting"] = waiting_calls(request, found)
            context["decisions"] = [(name, label) for name, (label, _done) in DECISIONS.items()]
        return super().change_view(request, object_id, form_url, context)

    def _operation_view(self, operation: Operation) -> Any:
        @transaction.non_atomic_requests
        def view(request: HttpRequest, object_id: str) -> HttpResponseBase:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            found = self.visible_object(request, object_id)
            if not self.has_operate_permission(request):
                raise PermissionDenied
            operate(self, request, operation, Generation.objects.filter(pk=found.pk))
            return HttpResponseRedirect(self.url("change", found.pk))

        return view

    @transaction.non_atomic_requests
    def decide_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The target of the buttons beside a call that waits for a decision."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        found = self.visible_object(request, object_id)
        if not self.has_operate_permission(request):
            raise PermissionDenied
        answer(self, request, found)
        return HttpResponseRedirect(self.url("change", found.pk))

    def recording_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The player; what it plays comes from ``jsonl_view`` or, while the generation runs, ``live_view``."""
        found = self.readable_object(request, object_id)
        live = found.status in Generation.ACTIVE and isinstance(request, ASGIRequest)
        context = {"original": found, "live": live, "title": _("Recording"), "subtitle": found}
        return self.page(request, "generation/recording.html", _("Recording"), context)

    def jsonl_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The recording, a record a line."""
        found = self.readable_object(request, object_id)
        log_read(request, [found.conversation], _t("Read the recording of generation %s.") % found.public_id)
        lines = (orjson.dumps(item).decode() + "\n" for item in record(found.conversation, found))
        return download(request, lines, f"{found.public_id}.jsonl", "application/jsonl")

    def script_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The recording as a script for the scripted provider."""
        found = self.readable_object(request, object_id)
        log_read(request, [found.conversation], _t("Read the script of generation %s.") % found.public_id)

        def chunks() -> Iterator[str]:
            yield json.dumps(script_of(record(found.conversation, found)), ensure_ascii=False, indent=1) + "\n"

        return download(request, chunks(), f"{found.public_id}.script.json", "application/json")

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The generation's event stream, resumable as ever; 204 for a reader that is past its end."""
        found = self.readable_object(request, object_id)
        asked = request.headers.get("Last-Event-ID") or request.GET.get("last_event_id") or None
        start = resume(found.conversation, asked, found)
        if start is None:
            return HttpResponse(status=204)
        log_read(request, [found.conversation], _t("Followed generation %s live.") % found.public_id)
        access = Access.of(request, Requester(request.user), (*_grounds(request.user), PERMISSION))
        try:
            async_to_sync(release_request_connections)()
            return async_to_sync(stream_response)(request, start, access)
        except LLMStreamError as error:
            return HttpResponse(error.message, status=error.status, content_type="text/plain")

    @admin.display(description=_("conversation"))
    def in_conversation(self, obj: Generation) -> SafeString | str:
        """A link to it."""
        return self.link("conversation", obj.conversation_id, obj.conversation)

    @admin.display(description=_("status"))
    def outcome(self, obj: Generation) -> str:
        """How it stands, and why it failed."""
        status = obj.get_status_display()
        return f"{status}: {obj.error_code}" if obj.error_code else status

    @admin.display(description=_("message"))
    def to_message(self, obj: Generation) -> SafeString | str:
        """A link to it."""
        return self.link("message", obj.message_id, obj.message.public_id)

    @admin.display(description=_("events"))
    def events(self, obj: Generation) -> SafeString | str:
        """Where they are in the log."""
        name = str(Event._meta.verbose_name_plural)
        query = {"conversation__id__exact": obj.conversation_id, "seq__gte": obj.first_seq}
        return self.list_link("event", name, **query, **({"seq__lte": obj.end_seq} if obj.end_seq else {}))

    @admin.display(description=_("first token"))
    def first_token(self, obj: Generation) -> str:
        """How long the first token took."""
        return _seconds(obj.started_at, obj.first_token_at)

    @admin.display(description=_("took"))
    def took(self, obj: Generation) -> str:
        """How long it ran."""
        return _seconds(obj.started_at, obj.ended_at)

    @admin.display(description=_("usage"))
    def usage(self, obj: Generation) -> str:
        """What the ledger says."""
        return used(obj)

    @admin.display(description=_("cost"))
    def cost(self, obj: Any) -> str:
        """What the ledger says."""
        return "-" if obj.spent is None else f"{obj.spent:.6f}"


def _seconds(since: Any, until: Any) -> str:
    return format_html("{}&nbsp;s", f"{(until - since).total_seconds():.2f}") if since and until else "-"
