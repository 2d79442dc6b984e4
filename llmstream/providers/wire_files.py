"""Files of a turn as services take them, in what their formats have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .base import ChatFile, ChatMessage

Part = TypeVar("Part")


def data_url(file: ChatFile) -> str:
    """Return a file's bytes as an address."""
    return f"data:{file.content_type};base64,{file.base64}"


def with_files(
    message: ChatMessage, write_text: Callable[[str], Part], write_file: Callable[[ChatFile], Part]
) -> list[Part]:
    """Return the parts of a turn that has files: these first, which models read best, those of text as text."""
    parts = [write_file(file) if file.text is None else write_text(text_of(file)) for file in message.files]
    # A text part of nothing but spaces is refused.
    return [*parts, write_text(message.content)] if message.content.strip() else parts


def text_of(file: ChatFile) -> str:
    """Return a text file with its name, as a model reads it."""
    return f"Attached file {file.name}:\n\n{file.text}"
