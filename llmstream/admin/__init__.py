"""The admin's pages, on stock ``ModelAdmin``; Django finds them by this package's name."""

from __future__ import annotations

from .conversations import ConversationAdmin
from .events import EventAdmin
from .feedback import FeedbackAdmin
from .generations import GenerationAdmin
from .messages import MessageAdmin
from .prices import PriceAdmin
from .usage import UsageRecordAdmin

__all__ = [
    "ConversationAdmin",
    "EventAdmin",
    "FeedbackAdmin",
    "GenerationAdmin",
    "MessageAdmin",
    "PriceAdmin",
    "UsageRecordAdmin",
]
