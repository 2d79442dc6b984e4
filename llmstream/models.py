"""Conversations, their messages and generations, the event log, and the usage ledger.

Everything that changes within a conversation changes under the row lock of that conversation: its ``head``, the events,
and the status and fence of its generations. ``llmstream.log`` is the only writer of events.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .accounting import Price as Price
from .accounting import Reservation
from .accounting import Turnstile as Turnstile
from .accounting import UsageRecord as UsageRecord
from .attachment import Attachment as Attachment
from .events import PUBLIC_ID_LENGTH, EventId, WireDecoder, new_public_id
from .feedback import Feedback as Feedback
from .holds import cascade_unless_held
from .left_response import LeftResponse as LeftResponse
from .membership import Membership as Membership
from .rendering import Rendering as Rendering
from .tool_call import ToolCall as ToolCall

#: Longest trace that leads to a request: a traceparent of W3C's Trace Context.
ORIGIN_LENGTH = 55


class PublicIdField(models.CharField):  # type: ignore[type-arg]
    """A random, unguessable id that clients see; never changes."""

    def __init__(self, **kwargs: object) -> None:
        options: dict[str, object] = {"max_length": PUBLIC_ID_LENGTH, "unique": True, "editable": False}
        super().__init__(**{**options, "default": new_public_id, **kwargs})  # type: ignore[arg-type]


class Conversation(models.Model):
    """A dialogue that owns one totally ordered event log.

    ``head`` is the ``seq`` of the newest event, and ``leaf`` the ``first_seq`` of the message that ends the branch on
    show (0: the newest); both are moved only under this row's lock. ``epoch`` changes when the log's history is no
    longer the one that clients saw, so that their event ids lead to a reset.
    """

    public_id = PublicIdField()
    title = models.CharField(_("title"), max_length=200, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        cascade_unless_held,
        null=True,
        blank=True,
        related_name="llmstream_conversations",
        verbose_name=_("owner"),
    )
    anonymous_id = models.CharField(
        _("anonymous visitor"),
        max_length=PUBLIC_ID_LENGTH,
        blank=True,
        help_text=_("A random id kept in the session of a visitor who is not signed in."),
    )
    held = models.BooleanField(
        _("legal hold"), default=False, help_text=_("Nothing of it is deleted, compacted or erased while this is set.")
    )
    members: models.ManyToManyField[models.Model, Membership] = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        through="Membership",
        related_name="llmstream_memberships",
        verbose_name=_("members"),
    )
    model = models.CharField(_("model"), max_length=100, blank=True)
    head = models.PositiveBigIntegerField(_("head"), default=0, editable=False)
    leaf = models.PositiveBigIntegerField(_("leaf"), default=0, editable=False)
    epoch = models.PositiveIntegerField(_("epoch"), default=1, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now_add=True)

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        ordering = ("-updated_at", "-pk")
        permissions = (
            ("view_content", "Can read what people and models said"),
            ("hold_conversation", "Can set and lift a legal hold"),
        )
        indexes = (
            models.Index(fields=("owner", "-updated_at", "-id"), name="llmstream_conv_owner"),
            models.Index(
                fields=("anonymous_id", "-updated_at", "-id"),
                name="llmstream_conv_anonymous",
                condition=~Q(anonymous_id=""),
            ),
        )
        constraints = (
            models.CheckConstraint(condition=Q(owner=None) | Q(anonymous_id=""), name="llmstream_conv_one_owner"),
            models.CheckConstraint(condition=Q(epoch__gte=1), name="llmstream_conv_epoch"),
        )

    def __str__(self) -> str:
        return self.title or self.public_id

    @property
    def last_event_id(self) -> EventId:
        """The id of the newest event, as of when this row was read."""
        return EventId(self.public_id, self.epoch, self.head)


class Message(models.Model):
    """One turn of a conversation, a node of its message tree.

    ``parts`` is a list of objects with a ``type``, and ``text`` the plain text of its text parts. A running answer has
    neither yet: its parts so far are in the log. ``first_seq`` is the ``seq`` of its ``message-created`` and
    ``end_seq`` that of the event that settled it, so the state as of any position can be read without a lock.
    """

    class Role(models.TextChoices):
        """Who speaks."""

        SYSTEM = "system", _("system")
        USER = "user", _("user")
        ASSISTANT = "assistant", _("assistant")

    class Status(models.TextChoices):
        """Whether the message is whole, still being written, or how it ended."""

        RUNNING = "running", _("running")
        COMPLETED = "completed", _("completed")
        STOPPED = "stopped", _("stopped")
        FAILED = "failed", _("failed")
        INTERRUPTED = "interrupted", _("interrupted")

    public_id = PublicIdField()
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="replies")
    role = models.CharField(_("role"), max_length=10, choices=Role)
    status = models.CharField(_("status"), max_length=12, choices=Status, default=Status.COMPLETED)
    parts = models.JSONField(_("parts"), decoder=WireDecoder, default=list, blank=True)
    text = models.TextField(_("text"), blank=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("author")
    )
    client_id = models.CharField(_("client id"), max_length=128, blank=True, editable=False)
    first_seq = models.PositiveBigIntegerField(editable=False)
    end_seq = models.PositiveBigIntegerField(null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ("conversation", "first_seq")
        constraints = (
            models.UniqueConstraint(fields=("conversation", "first_seq"), name="llmstream_message_first_seq"),
            models.UniqueConstraint(
                fields=("conversation", "client_id"), condition=~Q(client_id=""), name="llmstream_message_client_id"
            ),
            models.CheckConstraint(
                condition=Q(role__in=["system", "user", "assistant"]), name="llmstream_message_role"
            ),
            models.CheckConstraint(
                condition=Q(status="running", end_seq=None)
                | (
                    Q(status__in=["completed", "stopped", "failed", "interrupted"])
                    & Q(end_seq__gte=models.F("first_seq"))
                ),
                name="llmstream_message_status",
            ),
        )

    def __str__(self) -> str:
        return f"{self.role} {self.public_id}"


class Generation(Reservation):
    """One run of a provider that fills one assistant message.

    ``fence`` counts the owners it has had: an append by an earlier owner fails. ``lease_expires_at`` is the time until
    which its owner may be silent. ``end_seq`` is the ``seq`` of its terminal event. ``steers`` counts the steering
    messages in its log, ``left_out`` the turns of the history that its model was not sent. While it waits for a
    decision it has no owner; decided, it is queued again, and so it is when its owner was lost, which ``takeovers``
    counts. ``provider_cursor`` says how far the log has a response that can be taken up again. ``origin`` leads to the
    request that asked for it, if an observer knew.
    """

    class Status(models.TextChoices):
        """Queued, at work (running, or waiting for a person), or how it ended."""

        QUEUED = "queued", _("queued")
        RUNNING = "running", _("running")
        WAITING = "waiting", _("waiting")
        COMPLETED = "completed", _("completed")
        STOPPED = "stopped", _("stopped")
        FAILED = "failed", _("failed")
        INTERRUPTED = "interrupted", _("interrupted")

    ACTIVE = (Status.QUEUED, Status.RUNNING, Status.WAITING)
    RETRYABLE = (Status.STOPPED, Status.FAILED, Status.INTERRUPTED)
    TROUBLED = (Status.FAILED, Status.INTERRUPTED)

    public_id = PublicIdField()
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="generations")
    message = models.ForeignKey(Message, models.CASCADE, related_name="generations")
    model = models.CharField(_("model"), max_length=100)
    status = models.CharField(_("status"), max_length=12, choices=Status, default=Status.QUEUED)
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=1)
    fence = models.PositiveIntegerField(_("fence"), default=0, editable=False)
    lease_expires_at = models.DateTimeField(_("lease expires at"), null=True, editable=False)
    stop_requested_at = models.DateTimeField(_("stop requested at"), null=True, editable=False)
    provider_response_id = models.CharField(_("provider's response id"), max_length=200, blank=True, editable=False)
    provider_cursor = models.CharField(_("provider's cursor"), max_length=200, blank=True, editable=False)
    finish_reason = models.CharField(_("finish reason"), max_length=40, blank=True, editable=False)
    error_code = models.CharField(_("error code"), max_length=60, blank=True, editable=False)
    steers = models.PositiveSmallIntegerField(_("steering messages"), default=0, editable=False)
    left_out = models.PositiveIntegerField(_("turns left out"), default=0, editable=False)
    takeovers = models.PositiveSmallIntegerField(_("takeovers"), default=0, editable=False)
    origin = models.CharField(_("origin"), max_length=ORIGIN_LENGTH, blank=True, editable=False)
    first_seq = models.PositiveBigIntegerField(editable=False)
    end_seq = models.PositiveBigIntegerField(null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    started_at = models.DateTimeField(_("started at"), null=True, editable=False)
    first_token_at = models.DateTimeField(_("first token at"), null=True, editable=False)
    ended_at = models.DateTimeField(_("ended at"), null=True, editable=False)
    compacted_at = models.DateTimeField(_("compacted at"), null=True, editable=False)

    class Meta:
        verbose_name = _("generation")
        verbose_name_plural = _("generations")
        ordering = ("-pk",)
        indexes = (
            models.Index(
                fields=("status", "lease_expires_at"),
                name="llmstream_gen_active",
                condition=Q(status__in=["queued", "running", "waiting"]),
            ),
            models.Index(fields=("account", "created_at"), name="llmstream_gen_account"),
            models.Index(
                fields=("ended_at",), name="llmstream_gen_full", condition=Q(compacted_at=None, end_seq__isnull=False)
            ),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(status__in=["queued", "running", "waiting"], end_seq=None)
                | Q(status__in=["completed", "stopped", "failed", "interrupted"], end_seq__gt=models.F("first_seq")),
                name="llmstream_gen_status",
            ),
            models.CheckConstraint(
                condition=~Q(status="running") | Q(fence__gte=1, lease_expires_at__isnull=False),
                name="llmstream_gen_lease",
            ),
        )

    def __str__(self) -> str:
        return f"{self.public_id} ({self.status})"


class Event(models.Model):
    """One stored event: ``data`` is the whole wire object. Append-only; the log is its only writer.

    ``generation`` has no constraint and no index: rows are found by their position, and die with their conversation.
    ``first_seq`` is set by compaction: the row then stands for all deltas of its part from there to ``seq``.
    """

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="events", db_index=False)
    seq = models.PositiveBigIntegerField()
    first_seq = models.PositiveBigIntegerField(null=True)
    generation = models.ForeignKey(
        Generation, models.DO_NOTHING, null=True, related_name="+", db_index=False, db_constraint=False
    )
    type = models.CharField(max_length=40)
    data = models.JSONField(decoder=WireDecoder)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ("conversation", "seq")
        constraints = (models.UniqueConstraint(fields=("conversation", "seq"), name="llmstream_event_position"),)

    def __str__(self) -> str:
        return f"{self.seq} {self.type}"


class Node(models.Model):
    """A process that serves sockets. It moves ``expires_at`` on, by the database's clock, for as long as it lives."""

    public_id = PublicIdField()
    expires_at = models.DateTimeField(_("expires at"), editable=False)

    class Meta:
        verbose_name = _("node")
        verbose_name_plural = _("nodes")

    def __str__(self) -> str:
        return str(self.public_id)


class Presence(models.Model):
    """A connection that has a conversation open; it counts for as long as its node lives."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="presences", db_index=False)
    node = models.ForeignKey(Node, models.CASCADE, related_name="presences")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+")
    anonymous_id = models.CharField(_("anonymous visitor"), max_length=PUBLIC_ID_LENGTH, blank=True)
    connection = models.CharField(_("connection"), max_length=PUBLIC_ID_LENGTH)
    joined_at = models.DateTimeField(_("joined at"), auto_now_add=True)

    class Meta:
        verbose_name = _("presence")
        verbose_name_plural = _("presences")
        constraints = (
            models.UniqueConstraint(fields=("conversation", "connection"), name="llmstream_presence_unique"),
        )

    def __str__(self) -> str:
        return f"{self.connection}"
