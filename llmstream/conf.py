"""Settings: one ``LLMSTREAM`` dict, typed, read on use, forgotten when it changes.

Times are seconds and sizes are bytes unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, TypeVar

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

BUSY_POLICIES = ("reject", "queue", "interrupt")
RECOVERIES = ("retry", "continue", "interrupt")
RETENTION_ACTIONS = ("delete", "strip")


@dataclass(frozen=True, slots=True)
class Rates:
    """What a model's tokens cost, per million and in the site's currency.

    Input that is read from or written to the service's cache costs as much as other input, and reasoning as much as
    other output, unless they have rates.
    """

    input: Decimal = Decimal(0)
    output: Decimal = Decimal(0)
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an account, or the whole site, may use; None is no limit.

    A minute is the last one, a day and a month begin at midnight in the site's time zone. ``generations`` are those
    that have not ended.
    """

    cost_per_day: Decimal | None = None
    cost_per_month: Decimal | None = None
    tokens_per_minute: Decimal | None = None
    tokens_per_day: Decimal | None = None
    prompts_per_minute: Decimal | None = None
    generations: Decimal | None = None

    @property
    def metered(self) -> bool:
        """Whether tokens or cost are limited, so that a generation has to reserve them."""
        amounts = self.cost_per_day, self.cost_per_month, self.tokens_per_minute, self.tokens_per_day
        return any(amount is not None for amount in amounts)


AmountsT = TypeVar("AmountsT", Rates, Limits)

#: Whom ``LIMITS`` has entries for: each user, each visitor who is not signed in, everybody together.
LIMITED = ("USER", "VISITOR", "SITE")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """One model that a site offers, an entry of ``LLMSTREAM["MODELS"]``."""

    #: Dotted path of a ``Provider`` class.
    provider: str
    #: The provider's own name of the model.
    model: str = ""
    #: What people see; the entry's key when empty.
    label: str = ""
    #: System prompt put in front of the history.
    system: str = ""
    #: Keyword arguments of the provider class.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Per-call parameters such as temperature, passed through to the provider.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: Dotted paths of the tools that the model may ask for.
    tools: Sequence[str] = ()
    #: Content types of the attachments that it is sent, such as ``image/*``; of others it is told by name.
    attachments: Sequence[str] = ()
    #: Tokens of its history that the model is sent at most; 0 for all of it.
    context_tokens: int = 0
    #: ``ContextPolicy`` that chooses what is sent, the class or its dotted path, and its keyword arguments.
    context: Any = "llmstream.context.NewestTurns"
    context_options: Mapping[str, Any] = field(default_factory=dict)
    #: The model must show its first sign of life within this time, and go on within the second one.
    first_token_timeout: float = 60.0
    token_timeout: float = 30.0
    #: What becomes of an answer whose process is gone, the first that can be done: ``retry`` asks again while nothing
    #: was shown, ``continue`` hands the model its own beginning, ``interrupt`` ends it. An answer that goes on at its
    #: service is taken up again before all of these, unless ``interrupt`` is first.
    recovery: Sequence[str] = ("retry",)
    #: What its tokens cost while no ``Price`` says otherwise.
    prices: Rates | None = None
    #: Output tokens of one call, reasoning included; 0 leaves it to the provider.
    max_output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting with its default; keys of the ``LLMSTREAM`` dict are the upper-case names."""

    #: Dotted paths of ``Observer`` classes, which are told what this process does.
    observers: Sequence[str] = ()
    #: Models that may be asked for by key.
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    #: Key of the model used when a request names none; the first entry when empty.
    default_model: str = ""
    #: Dotted path of the permission policy.
    policy: str = "llmstream.permissions.ConversationPolicy"
    #: Dotted path of the broker that carries hints between processes.
    broker: str = "llmstream.brokers.memory.MemoryBroker"
    #: Alias in ``CHANNEL_LAYERS`` of the layer that brokers and runners use.
    channel_layer: str = "default"
    #: Dotted path of the runner, which says where generations run.
    runner: str = "llmstream.runners.local.LocalRunner"
    #: Whether visitors who are not signed in may hold conversations, bound to their session.
    allow_anonymous: bool = False
    #: A second prompt while an answer runs: reject, queue or interrupt.
    busy: str = "reject"
    #: ISO 4217 code of the currency that prices, costs and limits are in.
    currency: str = "USD"
    #: Dotted path of the quota, which says what an account may use.
    quota: str = "llmstream.quotas.Quota"
    #: What each ``USER``, each ``VISITOR`` and the whole ``SITE`` may use.
    limits: Mapping[str, Limits] = field(default_factory=dict)
    #: Output tokens that a generation under limits reserves at a time.
    reserve_tokens: int = 1_000
    #: A process may go by prices that are this old.
    price_ttl: float = 30.0

    #: Threads that run ORM work for async code; each holds at most one connection per database.
    database_threads: int = 3
    #: How long a generation may go without a sign of life before another process may end it.
    lease: float = 10.0
    #: How often a process looks for news that no hint announced.
    poll_interval: float = 1.0
    #: How often a process looks for lapsed leases and prompts that nobody picked up.
    sweep_interval: float = 5.0
    #: How often a generation whose process is gone is taken over before it ends as interrupted.
    max_takeovers: int = 3
    #: Generations that one process runs at once; further prompts wait.
    max_generations: int = 2_000
    #: Shortest and longest time between two commits of the log's writer; it stretches as the event loop fills.
    flush_interval_min: float = 0.005
    flush_interval_max: float = 0.040

    #: Comment sent on a silent stream, ``pong`` on a silent socket. A client that pings and then is silent for four
    #: times this is given up.
    heartbeat: float = 15.0
    #: A stream is ended after this time, give or take a tenth, and the client comes back.
    stream_lifetime: float = 600.0
    #: For so long after a whole request, nine tenths of ``stream_lifetime`` at most, a client that comes back to a
    #: stream needs none, with a ticket; 0 gives none.
    ticket_lifetime: float = 0.0
    #: How often a process says that it lives; its sockets are no longer present after three times this.
    presence_interval: float = 5.0
    #: How often, give or take a tenth, it is looked up whether open streams and sockets are still permitted.
    access_interval: float = 30.0
    #: A client that takes nothing for this long is cut off.
    write_timeout: float = 10.0
    #: Longest ``wait`` of a long poll.
    long_poll_max: float = 30.0
    #: Open streams and waiting long polls per process, and of one user or visitor in it.
    max_streams: int = 20_000
    max_streams_per_user: int = 1_000
    #: Recent events kept in memory per followed conversation, at least the newest; readers further behind read the
    #: database.
    tail_bytes: int = 32_768
    #: Bytes of events per page of a replay.
    page_bytes: int = 131_072

    #: Largest frame of a WebSocket client.
    max_frame_bytes: int = 65_536
    #: Frames that one user may send over all sockets of a process: per second, and at once after a pause.
    frames_per_second: float = 50.0
    frame_burst: int = 200
    #: Sockets that one user may have open per process, and rooms and waiting commands per socket.
    max_sockets_per_user: int = 50
    max_rooms: int = 100
    #: More than ``max_rooms``: a client that comes back joins all its rooms and repeats what was not answered at once.
    max_waiting_commands: int = 200
    #: A socket is closed after this time, give or take a tenth, and the client comes back.
    socket_lifetime: float = 86_400.0

    max_body_bytes: int = 262_144
    max_prompt_chars: int = 100_000
    max_title_chars: int = 200
    #: An answer longer than this is ended with finish reason ``length``.
    max_answer_chars: int = 1_000_000
    #: A generation is ended after this time with finish reason ``time``; waiting for a decision does not count.
    max_generation_seconds: float = 3_600.0
    #: Prompts that may wait in one conversation under the queue policy.
    max_queued: int = 10
    #: Newest messages in a snapshot and in a history sent to a model.
    max_messages: int = 500
    #: Model calls of one generation; a model that then still asks for tools ends with finish reason ``tool_calls``.
    max_steps: int = 10
    #: Tools that one model call may ask for.
    max_tool_calls: int = 16
    #: Longest arguments and largest output of a tool call, and of a piece of data or progress, as JSON.
    max_tool_bytes: int = 65_536
    #: Phases, data and progress reports of one tool call, or of one call of an agent; with more it has failed, but that
    #: a tool's further progress is passed over.
    max_tool_events: int = 500
    #: Steering messages of one generation.
    max_steers: int = 20
    #: Threads that run tools that are no coroutines.
    tool_threads: int = 4
    #: How long a tool call waits for somebody's decision.
    approval_timeout: float = 86_400.0
    #: Conversations per page of the list.
    list_page: int = 50

    #: How long after its end an answer keeps the pieces in which it was streamed; 0 keeps them.
    compact_after: float = 86_400.0
    #: Days after their last use for which conversations are kept; 0 keeps them. Pruning is done by ``llmstream_prune``.
    retention_days: float = 0
    #: What becomes of conversations that are not to be kept: delete, or strip of what was said.
    retention_action: str = "delete"
    #: Dotted path of the function that says which conversations are not to be kept.
    retention_policy: str = "llmstream.retention.policy.unused"

    #: Content types that may be attached beside those that models take; none of both, and nothing may be attached.
    attachments: Sequence[str] = ()
    #: Alias in ``STORAGES`` of the storage that keeps attachments.
    attachment_storage: str = "default"
    #: Largest attachment, attachments of one message, and those that one user has uploaded and not sent yet.
    max_attachment_bytes: int = 10_485_760
    max_attachments: int = 10
    max_unsent_attachments: int = 50
    #: Attachments that one model call is sent at most, the newest first; of the others the model is told by name.
    max_context_file_bytes: int = 14_000_000
    #: How long an attachment that was not sent is kept at least.
    unsent_attachment_age: float = 86_400.0

    #: Origins whose images are shown in answers; other images are links.
    image_origins: Sequence[str] = ()

    @property
    def ticket_age(self) -> float:
        """For how long a ticket is good: until its stream may come to its end, and a whole request gives another."""
        return min(self.ticket_lifetime, 0.9 * self.stream_lifetime)

    @property
    def attachable(self) -> tuple[str, ...]:
        """The content types that may be attached."""
        named = (self.attachments, *(model.attachments for model in self.models.values()))
        return tuple(dict.fromkeys(pattern for patterns in named for pattern in patterns))

    def model(self, key: str = "") -> tuple[str, ModelSettings] | None:
        """Return the key and entry of a model, of the default one when ``key`` is empty, or None."""
        key = key or self.default_model or next(iter(self.models), "")
        entry = self.models.get(key)
        return None if entry is None else (key, entry)


def _model_settings(key: str, entry: Mapping[str, Any]) -> ModelSettings:
    known = {f.name.upper(): f.name for f in fields(ModelSettings)}
    if unknown := sorted(set(entry) - set(known)):
        raise ImproperlyConfigured(f"LLMSTREAM['MODELS'][{key!r}] has unknown keys: {', '.join(unknown)}.")
    if not isinstance(entry.get("PROVIDER"), str):
        raise ImproperlyConfigured(f"LLMSTREAM['MODELS'][{key!r}] needs a PROVIDER, the dotted path of a class.")
    recovery = entry.get("RECOVERY", ())
    if isinstance(recovery, str) or not set(recovery) <= set(RECOVERIES):
        raise ImproperlyConfigured(f"LLMSTREAM['MODELS'][{key!r}]['RECOVERY'] is a list of: {', '.join(RECOVERIES)}.")
    if isinstance(entry.get("TOOLS"), str):
        raise ImproperlyConfigured(f"LLMSTREAM['MODELS'][{key!r}]['TOOLS'] must be a list of dotted paths.")
    if isinstance(entry.get("ATTACHMENTS"), str):
        raise ImproperlyConfigured(f"LLMSTREAM['MODELS'][{key!r}]['ATTACHMENTS'] must be a list of content types.")
    if not isinstance(entry.get("CONTEXT_TOKENS", 0), int) or entry.get("CONTEXT_TOKENS", 0) < 0:
        raise ImproperlyConfigured(f"LLMSTREAM['MODELS'][{key!r}]['CONTEXT_TOKENS'] must be a number of tokens.")
    values = {known[name]: value for name, value in entry.items()}
    if "PRICES" in entry:
        values["prices"] = _amounts(Rates, f"LLMSTREAM['MODELS'][{key!r}]['PRICES']", entry["PRICES"])
    return ModelSettings(**values)


def _amounts(kind: type[AmountsT], name: str, given: Any) -> AmountsT:
    """Read numbers that must be exact: int, Decimal or text, and floats as they are printed."""
    known = {f.name.upper(): f.name for f in fields(kind)}
    if not isinstance(given, Mapping) or (unknown := sorted(set(given) - set(known))):
        wrong = f"has unknown keys: {', '.join(unknown)}" if isinstance(given, Mapping) else "must be a dict"
        raise ImproperlyConfigured(f"{name} {wrong}.")
    try:
        amounts = {known[key]: Decimal(str(value)) for key, value in given.items() if value is not None}
    except InvalidOperation:
        raise ImproperlyConfigured(f"{name} must hold numbers.") from None
    if not all(amount.is_finite() and amount >= 0 for amount in amounts.values()):
        raise ImproperlyConfigured(f"{name} must hold numbers of at least 0.")
    return kind(**amounts)


def _limits(given: Any) -> dict[str, Limits]:
    if not isinstance(given, Mapping) or set(given) - set(LIMITED):
        raise ImproperlyConfigured(f"LLMSTREAM['LIMITS'] must be a dict with keys among {', '.join(LIMITED)}.")
    limits = {key: _amounts(Limits, f"LLMSTREAM['LIMITS'][{key!r}]", entry) for key, entry in given.items()}
    if "SITE" in limits and limits["SITE"].prompts_per_minute is not None:
        raise ImproperlyConfigured("LLMSTREAM['LIMITS']['SITE'] has no PROMPTS_PER_MINUTE.")
    return limits


@cache
def get_settings() -> Settings:
    """Return the site's settings; raises ImproperlyConfigured with the offending key."""
    given = getattr(django_settings, "LLMSTREAM", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured("LLMSTREAM must be a dict.")
    known = {f.name.upper(): f.name for f in fields(Settings)}
    if unknown := sorted(set(given) - set(known)):
        raise ImproperlyConfigured(f"LLMSTREAM has unknown keys: {', '.join(unknown)}.")
    values = {known[name]: value for name, value in given.items()}
    for field_ in fields(Settings):
        if isinstance(field_.default, int | float) and not isinstance(values.get(field_.name, 0), int | float):
            raise ImproperlyConfigured(f"LLMSTREAM[{field_.name.upper()!r}] must be a number.")
    values["limits"] = _limits(given.get("LIMITS", {}))
    if isinstance(given.get("ATTACHMENTS"), str):
        raise ImproperlyConfigured("LLMSTREAM['ATTACHMENTS'] must be a list of content types.")
    if isinstance(given.get("IMAGE_ORIGINS"), str):
        raise ImproperlyConfigured("LLMSTREAM['IMAGE_ORIGINS'] must be a list of origins.")
    values["models"] = {key: _model_settings(key, entry) for key, entry in given.get("MODELS", {}).items()}
    return Settings(**values)


@cache
def import_setting(path: str) -> Any:
    """Import the object at a dotted path, once."""
    return import_string(path)


@cache
def instance_of(path: str) -> Any:
    """Return this process's one instance of the class at a dotted path."""
    return import_setting(path)()


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "LLMSTREAM":
        get_settings.cache_clear()
        import_setting.cache_clear()
        instance_of.cache_clear()


setting_changed.connect(_forget, dispatch_uid="llmstream.conf")
