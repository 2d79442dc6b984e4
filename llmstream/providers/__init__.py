"""Providers: adapters to model APIs.

``openai.OpenAIProvider``, ``openai_responses.OpenAIResponsesProvider``, ``anthropic.AnthropicProvider``,
``gemini.GeminiProvider``, ``local.LocalProvider`` and ``scripted.ScriptedProvider`` come with llmstream; each is
imported from its own module, since each needs packages that a site may not have.
"""

from __future__ import annotations

from ..exceptions import ProviderContextExceeded
from .base import (
    ChatFile,
    ChatMessage,
    Cursor,
    Data,
    Finish,
    Keepalive,
    Phase,
    Provider,
    ProviderPart,
    ProviderRequest,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    ResumableProvider,
    ToolCall,
    ToolFinished,
    ToolSpec,
    ToolStarted,
    Usage,
)

__all__ = [
    "ChatFile",
    "ChatMessage",
    "Cursor",
    "Data",
    "Finish",
    "Keepalive",
    "Phase",
    "Provider",
    "ProviderContextExceeded",
    "ProviderPart",
    "ProviderRequest",
    "ReasoningDelta",
    "RefusalDelta",
    "ResponseStarted",
    "ResumableProvider",
    "ToolCall",
    "ToolFinished",
    "ToolSpec",
    "ToolStarted",
    "Usage",
]
