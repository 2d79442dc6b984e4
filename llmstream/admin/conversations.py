"""Conversations: found, read with their branches, renamed, exported, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import model_ngettext, quote
from django.contrib.auth import get_user_model
from django.db.models import Count, DecimalField, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from ..exceptions import NotFound
from ..export import FORMATS, export
from ..generations.endings import delete_conversation
from ..http.files import file_response
from ..models import Attachment, Conversation, Event, Generation, Message, UsageRecord
from ..transcript import BranchEnd, BranchStart, Turn, read_turns, with_branches
from .base import LIST_LIMIT, LargeTableAdmin, used
from .content import log_read, log_read_rows, log_search, may_read
from .downloads import download
from .feedback import FeedbackFilter
from .filters import AnswersModelFilter, AnswersStatusFilter, ConversationCostFilter, OwnerFilter
from .retention import COMPACT, PRUNE, upkeep_action
from .search import newest_saying

TRANSCRIPT_PAGE = 100

Action = Callable[[Any, HttpRequest, QuerySet[Conversation]], HttpResponseBase | None]


def _exporting(name: str) -> Action:
    kind = FORMATS[name]

    @admin.action(description=_("Export as %s") % kind.label, permissions=["content"])
    def act(self: Any, request: HttpRequest, queryset: QuerySet[Conversation]) -> HttpResponseBase | None:
        rows = list(queryset.order_by("pk").values_list("pk", "title", "public_id")[: LIST_LIMIT + 1])
        if len(rows) > LIST_LIMIT:
            self.message_user(request, _t("Export %d conversations at most.") % LIST_LIMIT, messages.ERROR)
            return None
        how = _t("Exported as %s.") % kind.label
        log_read_rows(request, [(pk, title or public_id) for pk, title, public_id in rows], how)
        chunks = export([pk for pk, *_names in rows], kind)
        return download(request, chunks, f"conversations.{kind.extension}", kind.content_type)

    act.__name__ = f"export_{name}"
    return act


@admin.register(Conversation)
class ConversationAdmin(LargeTableAdmin):
    """The list finds by title, owner, id and, for who may read content, by what was said."""

    list_display = ("__str__", "owner", "answers", "cost", "created_at")
    list_filter = (
        AnswersStatusFilter,
        AnswersModelFilter,
        OwnerFilter,
        ("created_at", admin.DateFieldListFilter),
        ConversationCostFilter,
        FeedbackFilter,
        "held",
    )
    list_select_related = ("owner",)
    search_fields = ("title",)
    fieldsets = (
        (None, {"fields": ("title", "held", "owner", "taking_part", "usage", "related")}),
        (
            _("Details"),
            {
                "classes": ("collapse",),
                "fields": ("public_id", "anonymous_id", "model", "head", "epoch", "created_at", "updated_at"),
            },
        ),
    )
    readonly_fields = (
        *("owner", "taking_part", "usage", "related"),
        *("public_id", "anonymous_id", "model", "head", "epoch", "created_at", "updated_at"),
    )
    actions = (*(_exporting(name) for name in FORMATS), upkeep_action(COMPACT), upkeep_action(PRUNE))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """With the legal hold for those who may not set it."""
        may_hold = request.user.has_perm("llmstream.hold_conversation")
        return self.readonly_fields if may_hold else ("held", *self.readonly_fields)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the figures of the list; the database works them out for the rows of a page only."""
        answers = Generation.objects.filter(conversation=OuterRef("pk")).order_by().values("conversation")
        spent = UsageRecord.objects.filter(conversation=OuterRef("pk")).order_by().values("conversation")
        counted = answers.annotate(number=Count("pk"))
        troubled = answers.filter(status__in=Generation.TROUBLED).annotate(number=Count("pk"))
        active = answers.filter(status__in=Generation.ACTIVE).annotate(number=Count("pk"))
        cost = spent.annotate(total=Sum("cost")).values("total")
        rows: QuerySet[Any] = super().get_queryset(request)
        rows = rows.annotate(
            answers_all=Coalesce(Subquery(counted.values("number")), 0),
            answers_troubled=Coalesce(Subquery(troubled.values("number")), 0),
            answers_active=Coalesce(Subquery(active.values("number")), 0),
            spent=Subquery(cost, output_field=DecimalField()),
        )
        return rows

    @admin.display(description=_("answers"))
    def answers(self, obj: Any) -> str:
        """How many, and how many of them need a look."""
        told = [str(obj.answers_all)]
        if obj.answers_active:
            told.append(_t("%d at work") % obj.answers_active)
        if obj.answers_troubled:
            told.append(_t("%d with an error") % obj.answers_troubled)
        return ", ".join(told)

    @admin.display(description=_("cost"))
    def cost(self, obj: Any) -> str:
        """What was spent, as far as anybody knows."""
        return "-" if obj.spent is None else f"{obj.spent:.4f}"

    @admin.display(description=_("usage"))
    def usage(self, obj: Conversation) -> str:
        """What the ledger says."""
        return used(obj)

    @admin.display(description=_("members"))
    def taking_part(self, obj: Conversation) -> str:
        """Who else takes part."""
        return ", ".join(str(item) for item in obj.memberships.select_related("user").order_by("pk")) or "-"

    @admin.display(description=_("see also"))
    def related(self, obj: Conversation) -> str:
        """The rows of this conversation in the other lists."""
        models = Message, Generation, Event, UsageRecord
        links = [
            self.list_link(
                model._meta.model_name or "", model._meta.verbose_name_plural, conversation__id__exact=obj.pk
            )
            for model in models
        ]
        return format_html(" · ".join(["{}"] * len(links)), *links)

    def has_content_permission(self, request: HttpRequest) -> bool:
        """Who may export."""
        return may_read(request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by id, owner, title and, with the permission, by what was said in the newest messages that match."""
        if not (term := search_term.strip()):
            return queryset, False
        owner = f"owner__{get_user_model().USERNAME_FIELD}"
        found = Q(public_id=term) | Q(title__icontains=term) | Q(**{owner: term})
        if may_read(request):
            log_search(request, term)
            found |= Q(pk__in=newest_saying(term, "conversation"))
        return queryset.filter(found), False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show the transcript below the form to those who may read it."""
        context = dict(extra_context or {})
        if request.method == "GET" and may_read(request):
            context["transcript"] = self._transcript(request, object_id)
        return super().change_view(request, object_id, form_url, context)

    def get_urls(self) -> list[URLPattern]:
        """With the files of the transcripts."""
        view = self.admin_site.admin_view(self.attachment_view)
        return [
            path("attachments/<str:attachment>/", view, name="llmstream_conversation_attachment"),
            *super().get_urls(),
        ]

    def attachment_view(self, request: HttpRequest, attachment: str) -> HttpResponseBase:
        """A file that was sent in a conversation."""
        row = get_object_or_404(Attachment, public_id=attachment, message__isnull=False)
        found = self.readable_object(request, str(row.conversation_id))
        log_read(request, [found], _t("Read the attachment %s.") % row.name)
        try:
            return file_response(request, row)
        except NotFound:
            raise Http404 from None

    def _transcript(self, request: HttpRequest, object_id: str) -> dict[str, Any] | None:
        conversation = self.get_object(request, object_id)
        if conversation is None or not self.has_view_permission(request, conversation):
            return None
        asked = request.GET.get("before", "")
        before = int(asked) if asked.isdecimal() and len(asked) < 16 else None
        turns = read_turns(conversation, before=before, limit=TRANSCRIPT_PAGE + 1)
        more = len(turns) > TRANSCRIPT_PAGE
        turns = turns[-TRANSCRIPT_PAGE:]
        log_read(request, [conversation], _t("Read the transcript."))
        kinds = {Turn: "turn", BranchStart: "start", BranchEnd: "end"}
        return {
            "items": [{"kind": kinds[type(item)], "item": item} for item in with_branches(conversation, turns)],
            "older": str(turns[0].message.first_seq) if more else "",
            "newest": before is None,
        }

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        """Write what the form changed and nothing else: the row's head moves all the time."""
        obj.save(update_fields=form.changed_data)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Stop what runs, then delete."""
        with suppress(NotFound):
            delete_conversation(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """The same for each."""
        for conversation in queryset.order_by("pk"):
            self.delete_model(request, conversation)

    def get_deleted_objects(
        self, objs: Iterable[Any], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Say what would go by numbers: Django would load every event to list it."""
        conversations = list(objs)
        names = [format_html("{}: {}", model_ngettext(item, 1), self._deletable(item)) for item in conversations]
        counts = {str(self.opts.verbose_name_plural): len(conversations)}
        for model in (Message, Generation, Event, Attachment):
            number = model._default_manager.filter(conversation__in=conversations).count()
            counts[str(model._meta.verbose_name_plural)] = number
        allowed = self.has_delete_permission(request)
        held = [self._held(item) for item in conversations if item.held]
        return names, counts, set() if allowed else {str(self.opts.verbose_name)}, held

    def _held(self, conversation: Conversation) -> str:
        return format_html(_t("{}, under a legal hold"), self._deletable(conversation))

    def _deletable(self, conversation: Conversation) -> str:
        return format_html('<a href="{}">{}</a>', self.url("change", quote(conversation.pk)), conversation)
