"""Asking providers, and looking at what they say."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from llmstream.exceptions import ProviderError
from llmstream.providers import ChatMessage, Keepalive, Provider, ProviderPart, ProviderRequest, ToolSpec

SECRET = "secret"  # Every error text of the fake service and the key contain it.
PROMPT = (ChatMessage("system", "Be brief."), ChatMessage("user", "Say something."))


def request(model: str = "", *messages: ChatMessage, **options: Any) -> ProviderRequest:
    """Build a call; the prompt is ``PROMPT`` unless messages are given."""
    return ProviderRequest("generation-1", model, messages or PROMPT, options)


async def ask_with_tools(
    provider: Provider, *messages: ChatMessage, specs: Sequence[ToolSpec] = (), **options: Any
) -> list[ProviderPart]:
    """Return all parts of the answer of the model ``script``, which may ask for tools."""
    asked = replace(request("script", *messages, **options), tools=specs)
    async with aclosing(provider.stream(asked)) as parts:
        return [part async for part in parts]


async def ask(provider: Provider, model: str = "", *messages: ChatMessage, **options: Any) -> list[ProviderPart]:
    """Return all parts of an answer except signs of life."""
    async with aclosing(provider.stream(request(model, *messages, **options))) as parts:
        return [part async for part in parts if not isinstance(part, Keepalive)]


async def fail(provider: Provider, model: str = "", **options: Any) -> tuple[list[ProviderPart], ProviderError]:
    """Return the parts of an answer that fails, and its failure."""
    parts: list[ProviderPart] = []
    try:
        async with aclosing(provider.stream(request(model, **options))) as stream:
            async for part in stream:
                parts.append(part)
    except ProviderError as error:
        return [part for part in parts if not isinstance(part, Keepalive)], error
    raise AssertionError(f"{model} did not fail but said {parts}")


def text(parts: Sequence[ProviderPart]) -> str:
    """Return the answer's text."""
    return "".join(part for part in parts if isinstance(part, str))


def of_type(parts: Sequence[ProviderPart], kind: type) -> list[Any]:
    """Return the parts of one type."""
    return [part for part in parts if isinstance(part, kind)]


def assert_silent(error: ProviderError, log: str) -> None:
    """Nothing of the service or the key is in an error, in what hangs on it, or in our log."""
    assert error.message == (type(error).__doc__ or "").strip()
    assert error.__context__ is None
    assert error.__cause__ is None
    assert SECRET not in str(vars(error))
    assert SECRET not in log
