"""Providers: adapters to model APIs.

``openai.OpenAIProvider``, ``openai_responses.OpenAIResponsesProvider``, ``anthropic.AnthropicProvider``,
``gemini.GeminiProvider``, ``local.LocalProvider`` and ``scripted.ScriptedProvider`` come with llmstream; each is
imported from its own module, since each needs packages that a site may not have.
"""

from __future__ import annotations

from ..exceptions import ProviderContextExceeded
from .base import (
    ChatMessage,
    Cursor,
    Finish,
    Keepalive,
    Provider,
    ProviderPart,
    ProviderRequest,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    ResumableProvider,
    Usage,
)

__all__ = [
    "ChatMessage",
    "Cursor",
    "Finish",
    "Keepalive",
    "Provider",
    "ProviderContextExceeded",
    "ProviderPart",
    "ProviderRequest",
    "ReasoningDelta",
    "RefusalDelta",
    "ResponseStarted",
    "ResumableProvider",
    "Usage",
]
