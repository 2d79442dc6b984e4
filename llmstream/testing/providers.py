"""What every provider does; a site's own providers can be tested for it.

class TestParrot(ProviderContract):
    @pytest.fixture
    def provider(self):
        return Parrot()
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import pytest

from ..exceptions import ProviderError
from ..providers.base import (
    ChatMessage,
    Cursor,
    Finish,
    Keepalive,
    Provider,
    ProviderPart,
    ProviderRequest,
    ResponseStarted,
    Usage,
)

T = TypeVar("T")

#: What may come after the end, and what says nothing to anybody.
_FIGURES = (Usage, Cursor, Keepalive)
_SILENT = (Keepalive, ResponseStarted, Cursor)


class ProviderContract:
    """Inherit from it in a class of tests that has the fixture ``provider``; the other fixtures have defaults.

    Every test has event loops of its own, one after the other, as processes have that are started again.
    """

    #: What is asked, and the provider's own name of the model.
    prompt: str = "Count from one to twenty, in words."
    model: str = ""
    #: Seconds for an answer.
    patience: float = 60.0

    @pytest.fixture
    def provider(self) -> Provider:
        """Return the provider under test."""
        raise NotImplementedError("Give the class a fixture named provider.")

    @pytest.fixture
    def failing(self) -> Mapping[str, ProviderRequest]:
        """Return requests that fail, by the code of the error that each leads to."""
        return {}

    @pytest.fixture
    def upstream_closed(self) -> Callable[[], bool] | None:
        """Return what tells whether the connection of the newest call is closed; None if nobody can tell."""
        return None

    @pytest.fixture
    def secret(self) -> str:
        """Return a text that no error may hold, such as the API key; empty if there is none."""
        return ""

    def request(self, **fields: Any) -> ProviderRequest:
        """Return a call of the model."""
        given = {"model": self.model, "messages": (ChatMessage("user", self.prompt),), **fields}
        return ProviderRequest("contract", **given)

    def test_an_answer_consists_of_parts_and_ends_once(self, provider: Provider) -> None:
        parts = self._answer(provider)
        assert all(isinstance(part, ProviderPart) for part in parts), parts
        assert sum(isinstance(part, Finish) for part in parts) == 1, "one Finish says that the model has ended"
        assert any(isinstance(part, str) and part for part in parts), "the answer has no text"

    def test_only_figures_follow_the_end(self, provider: Provider) -> None:
        parts = self._answer(provider)
        end = next(place for place, part in enumerate(parts) if isinstance(part, Finish))
        assert all(isinstance(part, _FIGURES) for part in parts[end + 1 :]), parts[end:]

    def test_it_tells_what_was_used(self, provider: Provider) -> None:
        usages = [part for part in self._answer(provider) if isinstance(part, Usage)]
        assert usages, "without Usage llmstream has to estimate"
        assert usages[-1].output_tokens > 0
        assert usages[-1].input_tokens >= usages[-1].cached_tokens >= 0
        assert usages[-1].output_tokens >= usages[-1].reasoning_tokens >= 0

    def test_it_serves_one_event_loop_after_another(self, provider: Provider) -> None:
        for _ in range(2):
            assert any(isinstance(part, Finish) for part in self._answer(provider))

    def test_it_serves_two_at_once(self, provider: Provider) -> None:
        async def both() -> list[list[ProviderPart]]:
            return list(await asyncio.gather(self._parts(provider), self._parts(provider)))

        for parts in self._run(provider, both()):
            assert any(isinstance(part, Finish) for part in parts)

    def test_it_gets_ready_at_any_time(self, provider: Provider) -> None:
        async def answer() -> list[ProviderPart]:
            await provider.prepare()
            _, _, parts = await asyncio.gather(provider.prepare(), provider.prepare(), self._parts(provider))
            await provider.prepare()
            return list(parts)

        assert any(isinstance(part, Finish) for part in self._run(provider, answer()))

    def test_a_stop_closes_the_upstream(self, provider: Provider, upstream_closed: Callable[[], bool] | None) -> None:
        async def stop() -> None:
            stream = provider.stream(self.request())
            await _first(stream)
            await stream.aclose()
            await _until(upstream_closed)

        self._run(provider, stop())

    def test_a_stop_while_it_is_silent_closes_the_upstream(
        self, provider: Provider, upstream_closed: Callable[[], bool] | None
    ) -> None:
        async def stop() -> bool:
            stream = provider.stream(self.request())
            await _first(stream)
            reading = asyncio.ensure_future(_drain(stream))
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait({reading})
            await stream.aclose()
            await _until(upstream_closed)
            return reading.cancelled() or reading.exception() is None

        assert self._run(provider, stop()), "a cancelled stream ends as cancelled"

    def test_failures_have_codes_and_tell_nothing(
        self, provider: Provider, failing: Mapping[str, ProviderRequest], secret: str
    ) -> None:
        for code, request in failing.items():
            with pytest.raises(ProviderError) as raised:
                self._run(provider, self._parts(provider, request))
            assert raised.value.code == code
            told = f"{raised.value} {raised.value.envelope()}"
            assert not secret or secret not in told

    def _answer(self, provider: Provider) -> list[ProviderPart]:
        return self._run(provider, self._parts(provider))

    async def _parts(self, provider: Provider, request: ProviderRequest | None = None) -> list[ProviderPart]:
        async with aclosing(provider.stream(request or self.request())) as stream:
            return [part async for part in stream]

    def _run(self, provider: Provider, work: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            try:
                async with asyncio.timeout(self.patience):
                    return await work
            finally:
                await provider.aclose()

        return asyncio.run(bounded())


async def _first(stream: AsyncGenerator[ProviderPart, None]) -> None:
    """Read up to the first part that people see."""
    async for part in stream:
        if not isinstance(part, _SILENT):
            return
    raise AssertionError("the answer has no parts")


async def _drain(stream: AsyncGenerator[ProviderPart, None]) -> None:
    async for _ in stream:
        pass


async def _until(closed: Callable[[], bool] | None) -> None:
    while closed is not None and not closed():
        await asyncio.sleep(0.01)
