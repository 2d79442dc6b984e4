"""Prices: a change is a new row, so that what was charged can be told afterwards."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Field
from django.http import HttpRequest
from django.utils.text import capfirst
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from ..accounting import Amount
from ..conf import get_settings
from ..models import Price
from .base import LargeTableAdmin

#: What counts where a price is left empty.
_INSTEAD = {
    "cached": _("As other input when empty."),
    "cache_write": _("As other input when empty."),
    "reasoning": _("As other output when empty."),
}


@admin.register(Price)
class PriceAdmin(LargeTableAdmin):
    """Rows are added and looked at; the newest one that is valid counts."""

    list_display = ("model", "valid_from", "input", "output", "cached", "cache_write", "reasoning", "currency")
    list_filter = ("model",)
    actions: Any = None

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the site's models, and say what the numbers are."""
        if db_field.name == "model":
            choices = [(key, key) for key in get_settings().models]
            return forms.ChoiceField(choices=choices, label=capfirst(db_field.verbose_name))
        if isinstance(db_field, Amount):
            per_million = _t("Per million tokens, in %s.") % get_settings().currency
            unless = _INSTEAD.get(db_field.name, "")
            kwargs["help_text"] = f"{per_million} {unless}".strip()
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever has Django's permission for it."""
        return request.user.has_perm("llmstream.add_price")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    @admin.display(description=_("currency, per million tokens"))
    def currency(self, obj: Price) -> str:
        """What the numbers are."""
        return get_settings().currency
