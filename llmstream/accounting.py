"""The rows of prices, use and what is set aside for it; import them from ``llmstream.models``."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

ACCOUNT_LENGTH = 255


class Amount(models.DecimalField):  # type: ignore[type-arg]
    """Money, in the currency that the site's settings name."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**{"max_digits": 16, "decimal_places": 8, **kwargs})  # type: ignore[arg-type]


class Turnstile(models.Model):
    """A row that prompts of one account line up at; accounts share them, so that there are never many."""

    number = models.PositiveSmallIntegerField(primary_key=True)

    def __str__(self) -> str:
        return str(self.number)


class Reservation(models.Model):
    """What a generation may use before it has to ask again; it counts until the generation ends.

    ``account`` is the key of the conversation's owner, empty where there is none.
    """

    account = models.CharField(_("account"), max_length=ACCOUNT_LENGTH, blank=True, editable=False)
    reserved_tokens = models.PositiveBigIntegerField(_("reserved tokens"), default=0, editable=False)
    reserved_cost = Amount(verbose_name=_("reserved cost"), default=Decimal(0), editable=False)

    class Meta:
        abstract = True


class Price(models.Model):
    """What a model's tokens cost per million from a time on, until the next row of that model.

    Rows are only added: an answer is charged at the newest one that was valid when it began. Input that is read from
    or written to the service's cache costs as much as other input, and reasoning as much as other output, where there
    is no price for it.
    """

    model = models.CharField(_("model"), max_length=100, help_text=_("A key of the site's models."))
    valid_from = models.DateTimeField(_("valid from"), default=timezone.now)
    input = Amount(verbose_name=_("input"), validators=[MinValueValidator(0)])
    output = Amount(verbose_name=_("output"), validators=[MinValueValidator(0)])
    cached = Amount(verbose_name=_("cached input"), null=True, blank=True, validators=[MinValueValidator(0)])
    cache_write = Amount(verbose_name=_("cache writes"), null=True, blank=True, validators=[MinValueValidator(0)])
    reasoning = Amount(verbose_name=_("reasoning"), null=True, blank=True, validators=[MinValueValidator(0)])
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("price")
        verbose_name_plural = _("prices")
        ordering = ("model", "-valid_from", "-pk")

    def __str__(self) -> str:
        return f"{self.model}: {self.input} + {self.output}"


class UsageRecord(models.Model):
    """The ledger: tokens and cost of one provider call, written in the transaction of its terminal event.

    ``estimated`` says that the provider sent no figures, as for a stopped call. A row outlives its conversation: nobody
    deletes what was spent.
    """

    generation = models.ForeignKey("llmstream.Generation", models.SET_NULL, null=True, related_name="usage_records")
    conversation = models.ForeignKey("llmstream.Conversation", models.SET_NULL, null=True, related_name="usage_records")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    account = models.CharField(_("account"), max_length=ACCOUNT_LENGTH, blank=True, editable=False)
    model = models.CharField(_("model"), max_length=100)
    input_tokens = models.PositiveBigIntegerField(_("input tokens"), default=0)
    output_tokens = models.PositiveBigIntegerField(_("output tokens"), default=0)
    reasoning_tokens = models.PositiveBigIntegerField(_("reasoning tokens"), default=0)
    cached_tokens = models.PositiveBigIntegerField(_("cached tokens"), default=0)
    cache_write_tokens = models.PositiveBigIntegerField(_("tokens written to the cache"), default=0)
    cost = Amount(verbose_name=_("cost"), null=True, blank=True)
    estimated = models.BooleanField(_("estimated"), default=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("usage record")
        verbose_name_plural = _("usage records")
        ordering = ("-pk",)
        indexes = (
            models.Index(fields=("account", "created_at"), name="llmstream_usage_account"),
            models.Index(fields=("created_at",), name="llmstream_usage_time"),
        )

    def __str__(self) -> str:
        return f"{self.model}: {self.input_tokens} + {self.output_tokens}"
