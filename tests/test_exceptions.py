"""Errors: what a client sees of them."""

from __future__ import annotations

from typing import Any

import pytest

from llmstream import exceptions
from llmstream.exceptions import GenerationInProgress, LLMStreamError, Overloaded, ProviderError

ALL = [value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, LLMStreamError)]


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_error_has_a_code_a_status_and_a_sentence(error: type[LLMStreamError]) -> None:
    envelope = error().envelope()["error"]
    assert envelope.keys() == {"code", "status", "message", "temporary", "retry_after_ms"}
    assert envelope["code"].replace("_", "").isalpha()
    assert 400 <= envelope["status"] < 600
    assert envelope["message"].endswith(".")


def test_codes_are_unique() -> None:
    codes = [error.code for error in ALL]
    assert len(codes) == len(set(codes))


def test_extra_members_go_beside_the_error() -> None:
    envelope = GenerationInProgress(generation={"id": "x"}).envelope()
    assert envelope["generation"] == {"id": "x"}
    assert envelope["error"]["code"] == "generation_in_progress"


def test_retry_after_is_told() -> None:
    assert Overloaded(retry_after_ms=1_500).envelope()["error"]["retry_after_ms"] == 1_500


def test_a_subclass_needs_no_docstring() -> None:
    class Mine(ProviderError):
        code = "mine"

    error: dict[str, Any] = Mine().envelope()["error"]
    assert error["code"] == "mine"
    assert error["message"] == ProviderError().message
