"""Providers: adapters to model APIs.

``openai.OpenAIProvider``, ``local.LocalProvider`` and ``scripted.ScriptedProvider`` come with llmstream; each is
imported from its own module, since each needs packages that a site may not have.
"""

from __future__ import annotations

from ..exceptions import ProviderContextExceeded
from .base import (
    ChatMessage,
    Finish,
    Keepalive,
    Provider,
    ProviderPart,
    ProviderRequest,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    Usage,
)

__all__ = [
    "ChatMessage",
    "Finish",
    "Keepalive",
    "Provider",
    "ProviderContextExceeded",
    "ProviderPart",
    "ProviderRequest",
    "ReasoningDelta",
    "RefusalDelta",
    "ResponseStarted",
    "Usage",
]
