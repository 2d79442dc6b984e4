"""What a provider is: one class with one async generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, TypeAlias

from ..file_types import is_text

#: Roughly what services charge for an image, and at least for a document; for more of it, a token per so many bytes.
_IMAGE_TOKENS: Final = 1_600
_BYTES_PER_TOKEN: Final = 32
_TEXT_BYTES_PER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool: ``arguments`` is a JSON object as text, ``id`` the provider's name of the call."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the model may ask for; ``parameters`` is the JSON schema of its arguments, an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class ChatFile:
    """A file of a user's turn; ``size`` is in bytes, and ``id`` that of the attachment.

    ``data`` and ``base64`` block when they are first asked for. What a provider is called with has been read before.
    """

    id: str
    name: str
    content_type: str
    size: int
    read: Callable[[], bytes] = field(repr=False, compare=False)

    @cached_property
    def data(self) -> bytes:
        """Its bytes."""
        return self.read()

    @cached_property
    def base64(self) -> str:
        """Its bytes in base64."""
        return b64encode(self.data).decode()

    @property
    def text(self) -> str | None:
        """Its text; None when it is something else."""
        return self.data.decode(errors="replace") if is_text(self.content_type) else None

    @property
    def is_image(self) -> bool:
        """Whether it is an image."""
        return self.content_type.startswith("image/")

    @property
    def tokens(self) -> int:
        """About how many tokens it takes."""
        if is_text(self.content_type):
            return -(-self.size // _TEXT_BYTES_PER_TOKEN)
        return _IMAGE_TOKENS if self.is_image else max(_IMAGE_TOKENS, self.size // _BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of the history sent to a model: ``role`` is system, user, assistant or tool; ``content`` plain text.

    ``tool_calls`` are those that an assistant's turn asked for. Each is followed by a tool's turn with its result,
    whose ``tool_call_id`` is the call's id. ``files`` are what a user's turn has attached, of the kinds that the model
    takes.
    """

    role: str
    content: str
    tool_calls: Sequence[ToolCall] = ()
    tool_call_id: str = ""
    files: Sequence[ChatFile] = ()


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """Everything a provider needs for one model call.

    ``model`` is the provider's own name of the model (``MODEL`` of the site's entry). ``messages`` is the branch of the
    conversation, oldest first, with the site's system prompt in front when there is one. ``options`` are per-call
    parameters merged from the site's entry (temperature and so on). ``generation`` is the public id, for logs and
    idempotency headers. ``tools`` are what the model may ask for. ``max_output_tokens`` is the site's limit on the
    call's output, reasoning included, 0 for none.
    """

    generation: str
    model: str
    messages: Sequence[ChatMessage]
    options: Mapping[str, Any] = field(default_factory=dict)
    tools: Sequence[ToolSpec] = ()
    max_output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the model's visible reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """A piece of a refusal, which providers send beside the content."""

    text: str


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    """The provider accepted the call; ``response_id`` is its own id for it."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one model call as the provider counted them; ``cost`` in the provider's currency when it says so.

    ``cached_tokens``, which were read from a cache, ``cache_write_tokens``, which were written to one, and
    ``reasoning_tokens`` are shares of the input and of the output, not additions to them.
    """

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cost: Decimal | None = None
    cache_write_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """The model ended by itself: ``reason`` is stop, length, content_filter, tool_calls or the provider's own word."""

    reason: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where in the service's own event stream the parts so far end; see ``ResumableProvider``."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Keepalive:
    """The provider gave a sign of life without content (a comment line, an empty chunk)."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What an agent is doing now, such as searching; people see both."""

    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Data:
    """A part of the answer that is JSON and no text, such as a chart; ``name`` tells the page what it is."""

    name: str
    data: Any


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """An agent has begun a tool call of its own: it is shown and stored, not run."""

    id: str
    name: str
    input: Any = None


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool call of the agent's own has returned, or failed."""

    id: str
    output: Any = None
    failed: bool = False


#: What a provider yields beside the text of a simple answer.
AgentPart: TypeAlias = ToolCall | Phase | Data | ToolStarted | ToolFinished

#: What a provider yields. A plain ``str`` is a piece of the answer's text.
ProviderPart: TypeAlias = (
    str | ReasoningDelta | RefusalDelta | ResponseStarted | Usage | Finish | Cursor | Keepalive | AgentPart
)


class Provider(ABC):
    """Adapter to a model API, built once per model entry from its ``OPTIONS``.

    An instance is shared by all generations of a process and may be used from several event loops in turn, so per-call
    state belongs in ``stream``.
    """

    @abstractmethod
    def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Yield the answer's parts as they arrive.

        Exactly one ``Finish`` says that the model ended by itself; a generator that returns without one is taken for a
        cut stream, and the generation fails with ``provider_truncated``. ``Usage`` may come before or after it.
        Failures are ``ProviderError`` and its subclasses; anything else counts as ``provider_error`` and its text never
        reaches a client. When the generation is stopped the generator is closed (``GeneratorExit`` or
        ``CancelledError`` at its current await) and must close its upstream connection at once.

        A ``ToolCall`` asks for a tool. It is run after the stream's end; then ``stream`` is called again, with the
        result among the messages.
        """
        raise NotImplementedError

    async def prepare(self) -> None:  # noqa: B027  most providers have nothing to do
        """Get ready for a first call, as by loading a model, so that it need not wait.

        Called for the site's default model when somebody begins to read a conversation in a process that runs
        generations; nobody waits for it. It may be called at any time, more than once and while ``stream`` is at work,
        which never relies on it. The caller logs what it raises, and nothing else comes of it.
        """

    async def aclose(self) -> None:  # noqa: B027  most providers hold nothing
        """Release connections and engines. Called at most once per event loop; safe to call without use."""


class ResumableProvider(Provider):
    """A provider whose service goes on with an answer while nobody listens.

    Its streams yield ``ResponseStarted`` and, after the parts of every read, a ``Cursor``, with nothing awaited in
    between: parts and cursor are stored together, and ``resume`` yields exactly the parts after it. One more ``Cursor``
    should come before ``Usage``, ``ToolCall`` and ``Finish``, so that these can be heard again. Closing a stream
    before its end cancels the answer soon, unless it was detached before or is in the same turn of the event loop.
    """

    @abstractmethod
    def resume(self, request: ProviderRequest, response_id: str, cursor: int) -> AsyncGenerator[ProviderPart, None]:
        """Yield the parts after a cursor of an answer that a stream began, here or in another process.

        Raises ``ProviderRejected`` when the service has the answer's stream no longer.
        """
        raise NotImplementedError

    @abstractmethod
    async def cancel(self, response_id: str) -> None:
        """End an answer at the service, once or again; raises ProviderError."""
        raise NotImplementedError

    @abstractmethod
    def detach(self, response_id: str) -> None:
        """Leave an answer running when its stream is closed, since another process goes on with it."""
        raise NotImplementedError
