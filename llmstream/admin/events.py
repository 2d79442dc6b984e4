"""Events: the log as it is, a page at a time."""

from __future__ import annotations

from typing import Any

import orjson
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from ..events import STORED, EventId
from ..models import Event
from .base import ReadOnlyAdmin
from .content import log_read, may_read


class TypeFilter(admin.SimpleListFilter):
    """By type."""

    title = _("type")
    parameter_name = "of_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        """The types that are stored."""
        return [(name, name) for name in STORED]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the events of the type."""
        return queryset.filter(type=self.value()) if self.value() else queryset


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The newest first; within one conversation in their order."""

    list_display = ("seq", "type", "in_conversation", "of_generation", "created_at")
    list_filter = (TypeFilter,)
    list_select_related = ("conversation",)
    content_fields = ("data",)
    fields = ("event_id", "type", "in_conversation", "of_generation", "created_at")
    list_per_page = 100

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """With the event itself for those who may read content."""
        return (*self.fields, "wire") if may_read(request) else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """What is shown of an event."""
        return "event_id", "in_conversation", "of_generation", "wire"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the content."""
        return super().get_queryset(request).select_related("conversation").defer("data")

    def get_ordering(self, request: HttpRequest) -> Any:
        """By position where the list is one conversation's, which is what the index of positions serves."""
        return ("conversation_id", "seq") if "conversation__id__exact" in request.GET else ("-pk",)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Record that the content is shown."""
        found = self.get_object(request, object_id)
        if found and may_read(request) and self.has_view_permission(request, found):
            log_read(request, [found.conversation], _t("Read event %d.") % found.seq)
        return super().change_view(request, object_id, form_url, extra_context)

    @admin.display(description=_("id"))
    def event_id(self, obj: Event) -> str:
        """The id on the wire."""
        return str(EventId(obj.conversation.public_id, obj.conversation.epoch, obj.seq))

    @admin.display(description=_("conversation"))
    def in_conversation(self, obj: Event) -> SafeString | str:
        """A link to it."""
        return self.link("conversation", obj.conversation_id, obj.conversation)

    @admin.display(description=_("generation"))
    def of_generation(self, obj: Any) -> SafeString | str:
        """A link to it, without reading it."""
        return self.link("generation", obj.generation_id, f"#{obj.generation_id}")

    @admin.display(description=_("event"))
    def wire(self, obj: Event) -> SafeString:
        """The wire object."""
        text = orjson.dumps(obj.data, option=orjson.OPT_INDENT_2).decode()
        return format_html('<pre class="llmstream-json">{}</pre>', text)
