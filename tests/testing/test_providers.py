"""The providers that come with llmstream keep the contract that sites test theirs for; what breaks it is found."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest

from llmstream.providers import ChatMessage, Finish, Provider, ProviderRequest, Usage
from llmstream.providers.function import FunctionProvider
from llmstream.providers.openai import OpenAIProvider
from llmstream.providers.script import Paced, Stall
from llmstream.providers.scripted import ScriptedProvider
from llmstream.testing.providers import ProviderContract
from tests.providers.services import KEY, SERVICES
from tests.upstream import Upstream

#: Models of the fake services that fail, by the code of the error.
FAULTS = {
    "provider_rejected": "status?code=400",
    "provider_rate_limited": "status?code=429",
    "provider_unavailable": "status?code=500",
    "provider_truncated": "cut",
    "provider_malformed": "broken",
}


def asked(model: str) -> ProviderRequest:
    """Return a call of a model."""
    return ProviderRequest("contract", model, (ChatMessage("user", "Hi"),))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """The fake service."""
    with Upstream() as found:
        yield found


class TestScripted(ProviderContract):
    """The script of tests."""

    @pytest.fixture
    def provider(self) -> Provider:
        """One that speaks word by word."""
        return ScriptedProvider(script=[Paced("one two three four", per_second=1_000), Usage(3, 4)])


class Services(ProviderContract):
    """What those that ask a service over HTTP have in common."""

    model = "answer?tokens=20&rate=400"

    @pytest.fixture
    def upstream_closed(self, upstream: Upstream) -> Callable[[], bool]:
        """Whether the newest exchange is over."""
        return lambda: (last := upstream.exchanges[-1]).disconnected is not None or last.finished is not None

    @pytest.fixture
    def secret(self) -> str:
        """The key, a part of which is in all error texts of the fake service."""
        return "secret"


class TestOpenAI(Services):
    """Chat Completions."""

    @pytest.fixture
    def provider(self, upstream: Upstream) -> Provider:
        """One that asks the fake service and tries nothing twice."""
        return OpenAIProvider(base_url=upstream.url, api_key=KEY, max_retries=0)

    @pytest.fixture
    def failing(self) -> Mapping[str, ProviderRequest]:
        """One model for each error."""
        return {code: asked(model) for code, model in FAULTS.items()}


@pytest.mark.parametrize("name", list(SERVICES))
class TestServices(Services):
    """The others."""

    @pytest.fixture
    def provider(self, upstream: Upstream, name: str) -> Provider:
        """One that asks the fake service and tries nothing twice."""
        return SERVICES[name].make(upstream)

    @pytest.fixture
    def failing(self, name: str) -> Mapping[str, ProviderRequest]:
        """One model for each error."""
        return {code: asked(SERVICES[name].model(model)) for code, model in FAULTS.items()}

    @pytest.fixture(autouse=True)
    def named(self, name: str) -> None:
        """The model as the service under test names it."""
        self.model = SERVICES[name].model(Services.model)


async def endless(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Go on after the end."""
    yield "Hello"
    yield Finish("stop")
    yield "and more"


async def unfinished(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Say nothing of an end or of tokens."""
    yield "Hello"


async def deaf(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Go on once more when it is to end."""
    with suppress(GeneratorExit):
        yield "Hello"
    yield "and more"


CONTRACT = ProviderContract()
CONTRACT_FAULTS: list[tuple[Any, Callable[[Provider], None]]] = [
    (endless, CONTRACT.test_only_figures_follow_the_end),
    (endless, CONTRACT.test_it_tells_what_was_used),
    (unfinished, CONTRACT.test_an_answer_consists_of_parts_and_ends_once),
]


@pytest.mark.parametrize(("function", "check"), CONTRACT_FAULTS)
def test_a_provider_that_breaks_the_contract_is_found(function: Any, check: Callable[[Provider], None]) -> None:
    with pytest.raises(AssertionError):
        check(FunctionProvider(function))


def test_a_provider_that_cannot_be_stopped_is_found() -> None:
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        CONTRACT.test_a_stop_closes_the_upstream(FunctionProvider(deaf), None)


def test_a_provider_that_gets_ready_only_once_is_found() -> None:
    class Tired(ScriptedProvider):
        ready = False

        async def prepare(self) -> None:
            if self.ready:
                raise RuntimeError("once is enough")
            self.ready = True

    with pytest.raises(RuntimeError, match="once is enough"):
        CONTRACT.test_it_gets_ready_at_any_time(Tired(script=["Hello"]))


def test_an_upstream_that_stays_open_is_found() -> None:
    class Impatient(ProviderContract):
        patience = 0.05

    with pytest.raises(TimeoutError):
        Impatient().test_a_stop_closes_the_upstream(ScriptedProvider(script=["Hello", Stall()]), lambda: False)
