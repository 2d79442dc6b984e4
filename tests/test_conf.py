"""Settings: what is read, when, and which mistakes are told."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier, BrokenBarrierError
from typing import Any, ClassVar

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from llmstream.conf import Limits, ModelSettings, Rates, Settings, get_settings, instance_of
from llmstream.exceptions import ProviderUnavailable
from llmstream.permissions import ConversationPolicy
from llmstream.providers.registry import get_provider
from llmstream.providers.scripted import ScriptedProvider

PARROT = {"PROVIDER": "llmstream.providers.scripted.ScriptedProvider"}


class CountingPolicy(ConversationPolicy):
    """A policy that a test recognises."""


class SlowProvider(ScriptedProvider):
    """A provider that takes its time to be built, and notices another one that is built meanwhile."""

    meeting: ClassVar[Barrier]

    def __init__(self) -> None:
        super().__init__()
        self.alone = False
        try:
            self.meeting.wait(0.2)
        except BrokenBarrierError:
            self.alone = True


@pytest.fixture
def _nothing_set() -> Iterator[None]:
    with override_settings(LLMSTREAM={}):
        yield


@pytest.mark.usefixtures("_nothing_set")
def test_without_a_setting_the_defaults_hold() -> None:
    assert get_settings() == Settings()
    assert get_settings().model() is None


def test_a_change_is_seen_at_once_and_undone_with_it() -> None:
    before = get_settings()
    with override_settings(LLMSTREAM={"HEARTBEAT": 1, "MODELS": {"m": PARROT}}):
        assert (get_settings().heartbeat, list(get_settings().models)) == (1, ["m"])
        assert get_settings() is get_settings()
    assert get_settings() == before


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"HEARTBEATS": 1}, "HEARTBEATS"),
        ({"heartbeat": 1}, "heartbeat"),
        ({"HEARTBEAT": "15"}, "HEARTBEAT"),
        ({"MAX_STREAMS": None}, "MAX_STREAMS"),
        ({"MODELS": {"m": {}}}, "'m'"),
        ({"MODELS": {"m": {"PROVIDER": 5}}}, "PROVIDER"),
        ({"MODELS": {"m": {**PARROT, "TEMPERATURE": 1}}}, "TEMPERATURE"),
        ({"MODELS": {"m": {**PARROT, "CONTEXT_TOKENS": "8k"}}}, "CONTEXT_TOKENS"),
        ({"MODELS": {"m": {**PARROT, "CONTEXT_TOKENS": -1}}}, "CONTEXT_TOKENS"),
        ({"MODELS": {"m": {**PARROT, "PRICES": {"INPUT": -1}}}}, "PRICES"),
        ({"MODELS": {"m": {**PARROT, "PRICES": {"PER_TOKEN": 1}}}}, "PER_TOKEN"),
        ({"LIMITS": {"USERS": {}}}, "LIMITS"),
        ({"LIMITS": {"USER": {"TOKENS": 1}}}, "'USER'"),
        ({"LIMITS": {"USER": {"TOKENS_PER_DAY": "many"}}}, "'USER'"),
        ({"LIMITS": {"USER": {"TOKENS_PER_DAY": "NaN"}}}, "'USER'"),
        ({"LIMITS": {"USER": 5}}, "'USER'"),
        ({"LIMITS": {"SITE": {"PROMPTS_PER_MINUTE": 1}}}, "'SITE'"),
        ([], "dict"),
    ],
)
def test_a_mistake_is_named(given: Any, named: str) -> None:
    with override_settings(LLMSTREAM=given), pytest.raises(ImproperlyConfigured, match=named):
        get_settings()


def test_amounts_are_exact_however_they_are_written() -> None:
    prices = {"INPUT": 0.1, "OUTPUT": "0.2", "CACHED": Decimal("0.3"), "REASONING": None}
    limits = {"USER": {"COST_PER_DAY": 0.7, "TOKENS_PER_DAY": 5, "GENERATIONS": None}}
    with override_settings(LLMSTREAM={"MODELS": {"m": {**PARROT, "PRICES": prices}}, "LIMITS": limits}):
        settings = get_settings()
    assert settings.models["m"].prices == Rates(Decimal("0.1"), Decimal("0.2"), Decimal("0.3"), None)
    assert settings.limits == {"USER": Limits(cost_per_day=Decimal("0.7"), tokens_per_day=Decimal(5))}


def test_models_are_found_by_key_by_default_and_first() -> None:
    models = {"one": {**PARROT, "MODEL": "m1"}, "two": {**PARROT, "SYSTEM": "Be brief."}}
    with override_settings(LLMSTREAM={"MODELS": models}):
        settings = get_settings()
        assert settings.model() == ("one", ModelSettings(PARROT["PROVIDER"], model="m1"))
        assert settings.model("two") == ("two", ModelSettings(PARROT["PROVIDER"], system="Be brief."))
        assert settings.model("three") is None
    with override_settings(LLMSTREAM={"MODELS": models, "DEFAULT_MODEL": "two"}):
        assert (get_settings().model() or "")[0] == "two"


def test_there_is_one_instance_until_the_settings_change() -> None:
    path = "tests.test_conf.CountingPolicy"
    first = instance_of(path)
    assert instance_of(path) is first
    assert isinstance(first, ConversationPolicy)
    with override_settings(LLMSTREAM={}):
        assert instance_of(path) is not first


def test_providers_are_built_once_from_their_options() -> None:
    model = {**PARROT, "OPTIONS": {"script": ["x"]}}
    with override_settings(LLMSTREAM={"MODELS": {"one": model, "two": model}}):
        assert get_provider("one") is get_provider("one")
        assert get_provider("one") is not get_provider("two")
        with pytest.raises(ProviderUnavailable):
            get_provider("three")
    with override_settings(LLMSTREAM={}), pytest.raises(ProviderUnavailable):
        get_provider("one")


def test_a_provider_that_several_ask_for_at_once_is_built_once() -> None:
    SlowProvider.meeting = Barrier(2)
    models = {"slow": {"PROVIDER": "tests.test_conf.SlowProvider"}}
    with override_settings(LLMSTREAM={"MODELS": models}), ThreadPoolExecutor(2) as threads:
        first, second = threads.map(get_provider, ["slow"] * 2)
    assert first is second
    assert isinstance(first, SlowProvider)
    assert first.alone
