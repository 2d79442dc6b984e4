"""The services besides Chat Completions, for tests of what all of their providers have to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.utils.module_loading import import_string

from llmstream.providers import Provider, Usage
from tests.upstream import Upstream
from tests.upstream_anthropic import Anthropic
from tests.upstream_gemini import Gemini
from tests.upstream_responses import Responses
from tests.upstream_wire import Behaviour, Dialect

KEY = "sk-the-secret-key"
ANSWER = "tok0 tok1 tok2 tok3 tok4 "


@dataclass(frozen=True, slots=True)
class Service:
    """A provider, and what the fake service says to it."""

    #: As in settings. What it imports takes seconds, which only those who ask for it should spend.
    path: str
    dialect: Dialect
    response_id: str
    #: Of an answer of five tokens, and of one with two tokens of reasoning as well.
    usage: Usage
    thoughtful: Usage
    #: Which event has the finish reason.
    finish: bytes
    #: Whether the name of a model is a part of the address.
    in_address: bool = False

    @property
    def provider(self) -> Callable[..., Provider]:
        """The provider's class."""
        found: Callable[..., Provider] = import_string(self.path)
        return found

    def make(self, upstream: Upstream, **options: Any) -> Provider:
        """Return a provider that asks ``upstream`` and, unless told otherwise, tries nothing twice."""
        return self.provider(**{**self.options(upstream), **options})

    def options(self, upstream: Upstream) -> dict[str, Any]:
        """Return the options of a provider that asks ``upstream`` and tries nothing twice."""
        url = upstream.url if self.dialect.__class__ is Responses else upstream.root
        return {"base_url": url, "api_key": KEY, "max_retries": 0}

    def model(self, behaviour: str) -> str:
        """Return the model that behaves so."""
        return behaviour.replace("?", ";").replace("&", ";") if self.in_address else behaviour

    def events(self, *tokens: str, end: bool = True) -> list[bytes]:
        """Return the events of an answer."""
        behaviour = Behaviour("answer", {})
        said: list[dict[str, Any] | str] = [*self.dialect.begin(behaviour)]
        for token in tokens:
            said += self.dialect.token(token, behaviour)
        if end:
            said += self.dialect.end(len(tokens), behaviour)
        return [self.dialect.frame(data) for data in said]


SERVICES = {
    "responses": Service(
        "llmstream.providers.openai_responses.OpenAIResponsesProvider",
        Responses(),
        "resp_upstream",
        Usage(11, 5, cached_tokens=4),
        Usage(11, 5, reasoning_tokens=2, cached_tokens=4),
        b"response.completed",
    ),
    "anthropic": Service(
        "llmstream.providers.anthropic.AnthropicProvider",
        Anthropic(),
        "msg_upstream",
        Usage(14, 5, cached_tokens=4, cache_write_tokens=3),
        Usage(14, 5, reasoning_tokens=2, cached_tokens=4, cache_write_tokens=3),
        b"message_delta",
    ),
    "gemini": Service(
        "llmstream.providers.gemini.GeminiProvider",
        Gemini(),
        "gemini-upstream",
        Usage(11, 5, cached_tokens=4),
        Usage(11, 7, reasoning_tokens=2, cached_tokens=4),
        b"finishReason",
        in_address=True,
    ),
}
