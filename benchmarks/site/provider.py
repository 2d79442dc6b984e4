"""The model of the benchmarks: answers with the paced answer that the prompt describes."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from benchmarks.source import Answer, paced
from llmstream.providers.base import Finish, Provider, ProviderPart, ProviderRequest


class PacedProvider(Provider):
    """Streams the same tokens, by the same clock, as every peer."""

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Yield the tokens, then say that the answer is whole."""
        async for text in paced(Answer.from_query(request.messages[-1].content)):
            yield text
        yield Finish("stop")
