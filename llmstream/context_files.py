"""The files of a model call: which of them are sent, and read in time, off the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from .conf import get_settings
from .database import release_connections
from .generations.files import told_of
from .providers.base import ChatFile, ChatMessage

logger = logging.getLogger("llmstream.generations")


async def with_files(messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """Return turns whose files have been read, the newest first up to ``MAX_CONTEXT_FILE_BYTES``.

    Of the others, and of those that are not in the storage any more, the model is told by name. What else the storage
    raises fails the call.
    """
    if not any(turn.files for turn in messages):
        return messages
    return await asyncio.to_thread(_read_all, messages)


def _read_all(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    left = get_settings().max_context_file_bytes
    turns: list[ChatMessage] = []
    try:
        for turn in reversed(messages):
            kept: list[ChatFile] = []
            for file in turn.files:
                if file.size <= left and _is_read(file):
                    kept.append(file)
                    left -= file.size
            names = [file.name for file in turn.files if file not in kept]
            turns.append(replace(turn, content=told_of(turn.content, names), files=kept) if turn.files else turn)
    finally:
        release_connections()  # of a storage that keeps its files in a database
    return turns[::-1]


def _is_read(file: ChatFile) -> bool:
    try:
        _ = file.base64 if file.text is None else file.data
    except FileNotFoundError:
        logger.warning("The file of attachment %s is not in the storage", file.id)
        return False
    return True
