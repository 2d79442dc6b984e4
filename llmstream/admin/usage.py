"""The ledger: looked at, and drawn."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import Generation, UsageRecord
from .figures import FiguresAdmin
from .filters import CostFilter, ModelFilter, UserFilter


@admin.register(UsageRecord)
class UsageRecordAdmin(FiguresAdmin):
    """One row for each call of a provider."""

    list_display = ("id", "user", "model", "input_tokens", "output_tokens", "amount", "estimated", "created_at")
    list_filter = (ModelFilter, UserFilter, "estimated", ("created_at", admin.DateFieldListFilter), CostFilter)
    list_select_related = ("user",)
    fields = (
        *("in_conversation", "of_generation", "user", "model", "created_at"),
        *("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens"),
        *("cache_write_tokens", "cost", "estimated"),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Links."""
        return "in_conversation", "of_generation"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the user."""
        return super().get_queryset(request).select_related("user")

    def figures_of(self, rows: QuerySet[Any]) -> tuple[QuerySet[Generation], QuerySet[UsageRecord]]:
        """The rows, and the generations that they are of."""
        return Generation.objects.filter(pk__in=rows.values("generation")), rows

    @admin.display(description=_("cost"))
    def amount(self, obj: UsageRecord) -> str:
        """To a few places."""
        return "-" if obj.cost is None else f"{obj.cost:.6f}"

    @admin.display(description=_("conversation"))
    def in_conversation(self, obj: UsageRecord) -> SafeString | str:
        """A link to it, while it exists."""
        return self.link("conversation", obj.conversation_id, obj.conversation)

    @admin.display(description=_("generation"))
    def of_generation(self, obj: UsageRecord) -> SafeString | str:
        """A link to it, while it exists."""
        return self.link("generation", obj.generation_id, obj.generation)
