"""Figures of what a list shows: by day, model and user, drawn on the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Avg, Count, DurationField, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..models import Generation, UsageRecord
from .base import ReadOnlyAdmin
from .charts import Bar, Chart

#: Days that are drawn when the list is not filtered by date, and groups that a table shows.
DAYS = 30
GROUPS = 15


@dataclass(frozen=True, slots=True)
class Figure:
    """What a group of generations comes to; times in seconds."""

    answers: int = 0
    errors: int = 0
    first_token: float | None = None
    writing: float = 0.0
    input: int = 0
    output: int = 0
    cost: Decimal = Decimal(0)

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.input + self.output

    @property
    def speed(self) -> float | None:
        """Output tokens per second of writing."""
        return self.output / self.writing if self.writing else None


Figures = dict[Any, Figure]


def figures_by(generations: QuerySet[Generation], usage: QuerySet[UsageRecord], key: str, usage_key: str) -> Figures:
    """Return the figures by a field; two queries."""
    answered = (
        generations.order_by()
        .values(key)
        .annotate(
            answers=Count("pk"),
            errors=Count("pk", filter=Q(status__in=Generation.TROUBLED)),
            waited=Avg(F("first_token_at") - F("started_at"), output_field=DurationField()),
            wrote=Sum(F("ended_at") - F("first_token_at"), output_field=DurationField()),
        )
        .values_list(key, "answers", "errors", "waited", "wrote")
    )
    spent = usage.order_by().values(usage_key)
    spent = spent.annotate(given=Sum("input_tokens"), got=Sum("output_tokens"), paid=Sum("cost"))
    figures = {
        group: Figure(
            answers, errors, waited.total_seconds() if waited else None, (wrote or timedelta()).total_seconds()
        )
        for group, answers, errors, waited, wrote in answered
    }
    for group, given, got, paid in spent.values_list(usage_key, "given", "got", "paid"):
        figure = figures.get(group, Figure())
        figures[group] = replace(figure, input=given, output=got, cost=paid or Decimal(0))
    return figures


class FiguresAdmin(ReadOnlyAdmin):
    """Adds a page of figures to a list, for the rows that its filters leave."""

    change_list_template = "admin/llmstream/change_list_with_figures.html"

    def figures_of(self, rows: QuerySet[Any]) -> tuple[QuerySet[Generation], QuerySet[UsageRecord]]:
        """Return the generations and the rows of the ledger that belong to a list's rows."""
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        """With the page."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_figures"
        page = path("figures/", self.admin_site.admin_view(self.figures_view), name=name)
        return [page, *super().get_urls()]

    def figures_view(self, request: HttpRequest) -> HttpResponseBase:
        """Draw them."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        changelist = self.get_changelist_instance(request)
        rows, days = changelist.queryset.order_by(), None
        if not any(name.startswith("created_at") for name in request.GET):
            days = DAYS
            rows = rows.filter(created_at__gte=timezone.now() - timedelta(days=DAYS))
        generations, usage = self.figures_of(rows)
        dated = generations.annotate(day=TruncDate("created_at")), usage.annotate(day=TruncDate("created_at"))
        context = {
            "days": days,
            "cl": changelist,
            "query": request.GET.urlencode(),
            "charts": _charts(figures_by(*dated, "day", "day")),
            "tables": [
                {"title": _("By model"), "rows": _largest(figures_by(generations, usage, "model", "model"))},
                {"title": _("By user"), "rows": _by_user(generations, usage)},
            ],
        }
        return self.page(request, "figures.html", _("Figures"), context)


def _by_user(generations: QuerySet[Generation], usage: QuerySet[UsageRecord]) -> list[tuple[str, Figure]]:
    rows = _largest(figures_by(generations, usage, "conversation__owner", "user"))
    users = get_user_model()._default_manager.in_bulk([pk for pk, _figure in rows if pk is not None])
    return [(users[pk].get_username() if pk in users else "-", figure) for pk, figure in rows]


def _largest(figures: Mapping[Any, Figure]) -> list[tuple[Any, Figure]]:
    ranked = sorted(figures.items(), key=lambda item: (item[1].cost, item[1].tokens, item[1].answers), reverse=True)
    return ranked[:GROUPS]


def _charts(figures: Figures) -> list[Chart]:
    days = sorted(day for day in figures if day)
    if not days:
        return []
    span = [days[0] + timedelta(days=number) for number in range((days[-1] - days[0]).days + 1)]
    found: Sequence[tuple[Any, Figure]] = [(day, figures.get(day, Figure())) for day in span]

    def chart(title: Any, unit: str, *names: str) -> Chart:
        bars = [Bar(str(day), [float(getattr(figure, name) or 0) for name in names]) for day, figure in found]
        return Chart(title, unit, bars)

    return [
        chart(_("Answers"), "", "answers"),
        chart(_("Answers with an error"), "", "errors"),
        chart(_("Tokens: input, output"), "", "input", "output"),
        chart(_("Cost"), "", "cost"),
        chart(_("Mean time to first token"), "s", "first_token"),
        chart(_("Output tokens per second"), "", "speed"),
    ]
