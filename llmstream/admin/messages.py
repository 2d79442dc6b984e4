"""Messages: looked at, found by what they say; the list itself shows no content."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from ..models import Message
from ..transcript import current_parts
from .base import ReadOnlyAdmin
from .content import log_read, log_search, may_read
from .feedback import MessageFeedbackFilter
from .filters import ConversationOwnerFilter
from .search import newest_saying


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    """Search finds messages for those who may read content."""

    list_display = ("id", "in_conversation", "role", "status", "author", "length", "created_at")
    list_filter = (
        *("role", "status", ConversationOwnerFilter),
        *(("created_at", admin.DateFieldListFilter), MessageFeedbackFilter),
    )
    list_select_related = ("conversation", "author")
    search_fields = ("public_id",)
    content_fields = ("text", "parts")
    fields = (
        *("in_conversation", "role", "status", "author", "created_at", "parent_message", "generations"),
        *("public_id", "first_seq", "end_seq"),
    )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """With the content for those who may read it."""
        return (*self.fields, "content") if may_read(request) else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All of them."""
        return "content", "in_conversation", "parent_message", "generations"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the length of the text instead of the text."""
        rows = super().get_queryset(request).select_related("conversation", "author")
        listed: QuerySet[Any] = rows.defer("text", "parts").annotate(characters=Length("text"))
        return listed

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by id, or by what is said for those who may read it."""
        if not (term := search_term.strip()):
            return queryset, False
        if not may_read(request):
            return queryset.filter(public_id=term), False
        log_search(request, term)
        return queryset.filter(pk__in=newest_saying(term, "pk")), False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Record that the content is shown."""
        found = self.get_object(request, object_id)
        if found and may_read(request) and self.has_view_permission(request, found):
            log_read(request, [found.conversation], _t("Read message %s.") % found.public_id)
        return super().change_view(request, object_id, form_url, extra_context)

    @admin.display(description=_("conversation"))
    def in_conversation(self, obj: Message) -> SafeString | str:
        """A link to it."""
        return self.link("conversation", obj.conversation_id, obj.conversation)

    @admin.display(description=_("reply to"))
    def parent_message(self, obj: Message) -> SafeString | str:
        """A link to it."""
        return self.link("message", obj.parent_id, obj.parent)

    @admin.display(description=_("generations"))
    def generations(self, obj: Message) -> SafeString | str:
        """Links to them."""
        links = ((self.link("generation", item.pk, item),) for item in obj.generations.order_by("pk"))
        return format_html_join(", ", "{}", links) or "-"

    @admin.display(description=_("characters"))
    def length(self, obj: Any) -> int:
        """How long the text is."""
        return int(obj.characters)

    @admin.display(description=_("content"))
    def content(self, obj: Message) -> SafeString | str:
        """The parts, as they were stored."""
        parts = current_parts(obj, obj.generations.order_by("pk").last())
        rows = ((part["type"], part.get("text", part.get("name", ""))) for part in parts)
        shown = format_html_join("", '<p class="llmstream-part">{}</p><div class="llmstream-text">{}</div>', rows)
        return format_html('<div class="llmstream-content">{}</div>', shown) if parts else "-"
