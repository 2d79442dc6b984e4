"""What all the admin's pages share: lists that stay fast on large tables, and rows that only the log may write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..ledger import usage_of
from .content import may_read

#: Rows of one list that can be paged through; what is beyond is found by filters and search.
LIST_LIMIT = 10_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than ``LIST_LIMIT``: a count of everything reads a whole table for every page of a list."""

    @cached_property
    def count(self) -> int:
        """The number of rows that can be paged through."""
        return min(self._found, LIST_LIMIT)

    @property
    def capped(self) -> bool:
        """Whether there are more rows than can be paged through."""
        return self._found > LIST_LIMIT

    def page(self, number: Any) -> Page[Any]:
        """Return a page; what is worked out for each row is worked out for the rows of the page only."""
        number = self.validate_number(number)
        rows: Any = self.object_list
        start = (number - 1) * self.per_page
        pks = list(rows.values_list("pk", flat=True)[start : start + self.per_page])
        return Page(rows.filter(pk__in=pks), number, self)

    @cached_property
    def _found(self) -> int:
        # Unordered, so that the database may take the rows as they come.
        rows: Any = self.object_list
        return int(rows.order_by().values("pk")[: LIST_LIMIT + 1].count())


class LargeTableAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list without counts and joins that grow with the table; columns that no index sorts cannot be sorted by."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    list_per_page = 50
    list_max_show_all = 200
    ordering = ("-pk",)
    #: Fields that hold what people and models said; they cannot be filtered by in the address.
    content_fields: tuple[str, ...] = ()

    class Media:
        css = {"all": ["llmstream/admin/admin.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Refuse what no text field can hold, which PostgreSQL answers with an error."""
        if any("\0" in value for _, values in request.GET.lists() for value in values):
            raise BadRequest("A filter holds a NUL character.")
        return super().changelist_view(request, extra_context)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Refuse lookups in content: guessing it bit by bit would be reading it, unlogged."""
        if lookup.partition("__")[0] in self.content_fields:
            return False
        return super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: rows come into being with their events."""
        return False

    def extra_url(self, suffix: str, view: Callable[..., HttpResponseBase]) -> URLPattern:
        """Return the pattern of a further page of an object; its name ends in the suffix."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_{suffix.replace('.', '_')}"
        return path(f"<path:object_id>/{suffix}/", self.admin_site.admin_view(view), name=name)

    def url(self, page: str, *args: Any) -> str:
        """Return the address of a page of this model's admin."""
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def visible_object(self, request: HttpRequest, object_id: str) -> Any:
        """Return the object if the user may view it; raises Http404 or PermissionDenied."""
        found = self.get_object(request, unquote(object_id))
        if found is None:
            raise Http404
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        return found

    def readable_object(self, request: HttpRequest, object_id: str) -> Any:
        """Return the object if the user may also read content; raises Http404 or PermissionDenied."""
        found = self.visible_object(request, object_id)
        if not may_read(request):
            raise PermissionDenied
        return found

    def page(self, request: HttpRequest, template: str, title: Any, context: Mapping[str, Any]) -> TemplateResponse:
        """Answer with a page of our own, dressed like the others."""
        base = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": title,
            "has_view_permission": True,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, f"admin/llmstream/{template}", {**base, **context})

    def link(self, model: str, pk: int | None, text: Any) -> SafeString | str:
        """Return a link to a row of another of our models."""
        if pk is None:
            return "-"
        address = reverse(f"{self.admin_site.name}:llmstream_{model}_change", args=[pk])
        return format_html('<a href="{}">{}</a>', address, text)

    def list_link(self, model: str, text: Any, **query: Any) -> SafeString:
        """Return a link to the rows of another of our models that match ``query``."""
        address = reverse(f"{self.admin_site.name}:llmstream_{model}_changelist")
        return format_html('<a href="{}?{}">{}</a>', address, urlencode(query), text)


def used(subject: Any) -> str:
    """Tell what the ledger says of a conversation or a generation."""
    totals = usage_of(subject)
    if not totals.calls:
        return "-"
    told = _("calls: %(calls)d, tokens: %(input)d in (%(cached)d cached), %(output)d out (%(reasoning)d reasoning)") % {
        "calls": totals.calls,
        "input": totals.input_tokens,
        "cached": totals.cached_tokens,
        "output": totals.output_tokens,
        "reasoning": totals.reasoning_tokens,
    }
    notes = [f"{totals.cost:.6f} {totals.currency}"]
    if totals.cache_write_tokens:
        notes.append(_("%d written to the cache") % totals.cache_write_tokens)
    if totals.estimated:
        notes.append(_("%d estimated") % totals.estimated)
    if totals.unpriced:
        notes.append(_("%d without a price") % totals.unpriced)
    return ", ".join([told, *notes])


class ReadOnlyAdmin(LargeTableAdmin):
    """Rows that the log alone writes: they can be looked at."""

    actions: Any = None

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody here. Whoever has the right, where another model's page asks: they go with a user."""
        match = request.resolver_match
        if match and (match.url_name or "").startswith(f"{self.opts.app_label}_{self.opts.model_name}_"):
            return False
        return super().has_delete_permission(request, obj)
