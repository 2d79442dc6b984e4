"""The tools that the site has given to a model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from django.core.exceptions import ImproperlyConfigured

from ..conf import ModelSettings, import_setting
from .base import Tool


def get_tools(model: ModelSettings) -> Mapping[str, Tool]:
    """Return a model's tools by name; raises ImproperlyConfigured or ImportError."""
    tools: dict[str, Tool] = {}
    for path in model.tools:
        found = import_setting(path)
        if not isinstance(found, Tool):
            raise ImproperlyConfigured(f"{path} is no tool: decorate it with llmstream.tools.tool.")
        if found.name in tools:
            raise ImproperlyConfigured(f"{path}: another tool of this model has the name {found.name!r}.")
        tools[found.name] = found
    return tools


async def load_tools(model: ModelSettings) -> Mapping[str, Tool]:
    """Return a model's tools by name; they are imported in a thread, since the first time may take a second."""
    return await asyncio.to_thread(get_tools, model) if model.tools else {}
