"""What puts our models into Unfold's dress; importing it registers nothing."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.sites import AdminSite
from unfold.admin import ModelAdmin

from ...admin import (
    ConversationAdmin,
    EventAdmin,
    FeedbackAdmin,
    GenerationAdmin,
    MessageAdmin,
    PriceAdmin,
    UsageRecordAdmin,
)
from ...models import Conversation, Event, Feedback, Generation, Message, Price, UsageRecord

ADMINS: dict[Any, type[admin.ModelAdmin[Any]]] = {
    Conversation: ConversationAdmin,
    Message: MessageAdmin,
    Generation: GenerationAdmin,
    Event: EventAdmin,
    Feedback: FeedbackAdmin,
    UsageRecord: UsageRecordAdmin,
    Price: PriceAdmin,
}


class UnfoldMixin:
    """Goes before one of our admin classes and Unfold's ``ModelAdmin``: gives our parts of a page Unfold's colours."""

    class Media:
        css = {"all": ["llmstream/admin/unfold.css"]}


def dressed(admin_class: type[admin.ModelAdmin[Any]]) -> type[admin.ModelAdmin[Any]]:
    """Return an admin class of ours, or one that a site has made of it, for Unfold."""
    return type(admin_class.__name__, (UnfoldMixin, admin_class, ModelAdmin), {"__module__": __name__})


def register(site: AdminSite) -> None:
    """Have a site show our models in Unfold's dress, as it has registered them or as we have."""
    for model, ours in ADMINS.items():
        found = type(site.get_model_admin(model)) if site.is_registered(model) else ours
        if issubclass(found, ModelAdmin):
            continue
        if site.is_registered(model):
            site.unregister(model)
        site.register(model, dressed(found))
