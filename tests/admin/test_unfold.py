"""Our admin classes with Unfold's; how they look is seen in a browser, in ``tests.demo``."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import AdminSite
from unfold.admin import ModelAdmin

from llmstream.admin import ConversationAdmin
from llmstream.contrib.unfold.dress import ADMINS, register
from llmstream.models import Conversation
from tests.documentation import snippet


def test_a_site_s_own_class_stays_and_the_others_are_dressed() -> None:
    site = AdminSite()
    own = snippet("docs/admin.md", "class Conversations")["Conversations"]
    site.register(Conversation, own)
    register(site)
    register(site)
    assert type(site.get_model_admin(Conversation)) is own
    for model, ours in ADMINS.items():
        found = site.get_model_admin(model)
        assert isinstance(found, ModelAdmin)
        assert isinstance(found, ours)
        assert "llmstream/admin/unfold.css" in str(found.media)
        assert "llmstream/admin/admin.css" in str(found.media)


def test_no_page_of_ours_is_left_as_it_was() -> None:
    assert set(ADMINS) == {model for model in admin.site._registry if model._meta.app_label == "llmstream"}


def test_a_stock_class_that_a_site_has_changed_keeps_its_changes() -> None:
    class Short(ConversationAdmin):
        list_per_page = 5

    site = AdminSite()
    site.register(Conversation, Short)
    register(site)
    found = site.get_model_admin(Conversation)
    assert (found.list_per_page, isinstance(found, ModelAdmin)) == (5, True)
