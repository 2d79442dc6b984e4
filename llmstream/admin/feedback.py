"""Feedback: a list of its own, and a filter of the lists of what it is about."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from ..models import Feedback
from .base import ReadOnlyAdmin
from .content import log_read, may_read
from .filters import UserFilter


class FeedbackFilter(admin.SimpleListFilter):
    """By what somebody thinks of an answer."""

    title = _("feedback")
    parameter_name = "feedback"
    #: Lookup of the row from a feedback's.
    row: ClassVar[str] = "message__conversation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        """Any, and each rating."""
        return [("any", _("any")), *Feedback.Rating.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the rows with such feedback."""
        if not (value := self.value()):
            return queryset
        given = Feedback.objects.all() if value == "any" else Feedback.objects.filter(rating=value)
        return queryset.filter(pk__in=given.order_by().values(self.row))


class MessageFeedbackFilter(FeedbackFilter):
    """The same for messages."""

    row = "message"


@admin.register(Feedback)
class FeedbackAdmin(ReadOnlyAdmin):
    """The newest first; comments are content."""

    list_display = ("id", "about", "rating", "user", "created_at")
    list_filter = ("rating", UserFilter, ("created_at", admin.DateFieldListFilter))
    list_select_related = ("message", "user")
    content_fields = ("comment",)
    fields = ("about", "rating", "user", "anonymous_id", "created_at", "updated_at")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """With the comment for those who may read it."""
        return (*self.fields, "comment") if may_read(request) else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All of them."""
        return "about", "comment"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the texts of the messages."""
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.select_related("message", "user").defer("message__text", "message__parts")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Record that the comment is shown."""
        found = self.get_object(request, object_id)
        if found and may_read(request) and self.has_view_permission(request, found):
            log_read(
                request, [found.message.conversation], _t("Read feedback on message %s.") % found.message.public_id
            )
        return super().change_view(request, object_id, form_url, extra_context)

    @admin.display(description=_("message"))
    def about(self, obj: Feedback) -> SafeString | str:
        """A link to it."""
        return self.link("message", obj.message_id, obj.message)
