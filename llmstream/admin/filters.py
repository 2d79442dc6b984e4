"""Filters of the lists. None of them reads a table to know its choices."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import QuerySet, Sum
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..conf import get_settings
from ..generations.endings import lapsed
from ..models import Generation, UsageRecord

Rows = QuerySet[Any]
Choices = list[tuple[Any, Any]]


class TextFilter(admin.SimpleListFilter):
    """A filter by a word that is typed in."""

    template = "admin/llmstream/text_filter.html"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        mine = {self.parameter_name, "p"}
        self._others = [(name, value) for name, values in request.GET.lists() if name not in mine for value in values]

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """None to choose from."""
        return []

    def has_output(self) -> bool:
        """Always shown."""
        return True

    def choices(self, changelist: Any) -> Iterator[Any]:
        """What the form needs."""
        yield {"name": self.parameter_name, "value": self.value() or "", "others": self._others}


class OwnerFilter(TextFilter):
    """By the name of the user whose conversation it is."""

    title = _("owner")
    parameter_name = "owner"
    #: Lookup of the user.
    field: ClassVar[str] = "owner"

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Keep the rows of that user."""
        if not (name := self.value()):
            return queryset
        users = get_user_model()._default_manager
        found = users.filter(**{users.model.USERNAME_FIELD: name}).first()
        return queryset.filter(**{self.field: found}) if found else queryset.none()


class ConversationOwnerFilter(OwnerFilter):
    """The same for rows of a conversation."""

    field = "conversation__owner"


class UserFilter(OwnerFilter):
    """By the name of the user who is charged."""

    title = _("user")
    parameter_name = "username"
    field = "user"


class ModelFilter(admin.SimpleListFilter):
    """By one of the models that the site offers."""

    title = _("model")
    parameter_name = "of_model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """The site's models."""
        return [(key, entry.label or key) for key, entry in get_settings().models.items()]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Keep the rows of that model."""
        return queryset.filter(model=self.value()) if self.value() else queryset


class AnswersModelFilter(ModelFilter):
    """By a model that has answered in the conversation."""

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Keep conversations with an answer of that model."""
        answers = Generation.objects.filter(model=self.value()).values("conversation")
        return queryset.filter(pk__in=answers) if self.value() else queryset


class AnswersStatusFilter(admin.SimpleListFilter):
    """By how answers of the conversation stand or ended; ``error`` means that one failed or was interrupted."""

    title = _("answers")
    parameter_name = "answers"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """At work, with an error, and each status."""
        return [("active", _("at work")), ("error", _("with an error")), *Generation.Status.choices]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Keep conversations with such an answer."""
        if not (value := self.value()):
            return queryset
        groups = {"active": Generation.ACTIVE, "error": Generation.TROUBLED}
        answers = Generation.objects.filter(status__in=groups.get(value, (value,)))
        return queryset.filter(pk__in=answers.values("conversation"))


class ErrorFilter(admin.SimpleListFilter):
    """Whether an answer failed or was interrupted."""

    title = _("error")
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """With one."""
        return [("any", _("with an error"))]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Keep the answers with an error."""
        return queryset.filter(status__in=Generation.TROUBLED) if self.value() else queryset


class LeaseFilter(admin.SimpleListFilter):
    """Whether the owner of a running generation has fallen silent."""

    title = _("lease")
    parameter_name = "lease"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Lapsed."""
        return [("lapsed", _("lapsed"))]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Keep generations that nobody keeps up."""
        return queryset.filter(pk__in=lapsed().values("pk")) if self.value() else queryset


class CostFilter(admin.SimpleListFilter):
    """By what was spent at least."""

    title = _("cost")
    parameter_name = "cost_from"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Some amounts."""
        return [(amount, _("%s or more") % amount) for amount in ("0.001", "0.01", "0.1", "1", "10")]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Keep the rows that cost as much."""
        known = {value for value, _label in self.lookup_choices}
        return self.costing(queryset, Decimal(value)) if (value := self.value()) in known else queryset

    def costing(self, queryset: Rows, amount: Decimal) -> Rows:
        """Keep the rows of the ledger."""
        return queryset.filter(cost__gte=amount)


class ConversationCostFilter(CostFilter):
    """By what a conversation cost in all."""

    def costing(self, queryset: Rows, amount: Decimal) -> Rows:
        """Keep the conversations."""
        return queryset.filter(pk__in=_spenders("conversation", amount))


class GenerationCostFilter(CostFilter):
    """By what a generation cost in all."""

    def costing(self, queryset: Rows, amount: Decimal) -> Rows:
        """Keep the generations."""
        return queryset.filter(pk__in=_spenders("generation", amount))


def _spenders(of: str, amount: Decimal) -> Rows:
    spent = UsageRecord.objects.filter(**{f"{of}__isnull": False, "cost__gt": 0}).order_by().values(of)
    found: Rows = spent.annotate(total=Sum("cost")).filter(total__gte=amount).values(of)
    return found
