"""What is logged: ids, figures and codes; nothing that anybody said."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from logging.config import dictConfig
from typing import Any

import pytest
from django.test import AsyncClient

from llmstream.conf import instance_of
from llmstream.observers import Observer
from tests.documentation import snippet
from tests.support import until

from .watching import SECRET, answer, stopped, watched

pytestmark = pytest.mark.django_db(transaction=True)

ACTIVITY = "llmstream.contrib.logs.Activity"


class Kept(logging.Handler):
    """Keeps the lines of the documented formatter."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Format and keep."""
        self.lines.append(self.format(record))

    @property
    def told(self) -> list[dict[str, Any]]:
        """What the lines say."""
        return [json.loads(line) for line in self.lines]

    def about(self, message: str) -> list[dict[str, Any]]:
        """The records with a message."""
        return [item for item in self.told if item["message"] == message]


@pytest.fixture
def log() -> Iterator[Kept]:
    """Everything that our loggers say, at every level, by the documented recipe."""
    recipe = snippet("docs/monitoring.md", "JSONFormatter")
    kept, ours = Kept(), logging.getLogger("llmstream")
    kept.setFormatter(recipe["JSONFormatter"]())
    level = ours.level
    ours.addHandler(kept)
    ours.setLevel(logging.DEBUG)
    yield kept
    ours.removeHandler(kept)
    ours.setLevel(level)


async def test_answers_calls_and_tools_are_logged_with_their_ids(log: Kept) -> None:
    async with watched(ACTIVITY) as engine:
        generation = await answer(engine, "helped")
        await until(lambda: log.about("A generation has ended"))
    ids = {"generation": generation.public_id, "model": "helped", "conversation": generation.conversation.public_id}
    assert all(item.items() >= ids.items() for item in log.told)
    (started,), (end,) = log.about("A generation has started"), log.about("A generation has ended")
    assert (started["logger"], end["status"], end["finish_reason"]) == ("llmstream.activity", "completed", "stop")
    _, second = log.about("A model was called")
    assert (second["level"], second["input_tokens"], second["output_tokens"]) == ("INFO", 30, 20)
    assert {(item["tool"], item.get("code")) for item in log.about("A tool was called")} == {
        ("big", None),
        ("fail", "tool_failed"),
    }


async def test_nothing_that_was_said_is_logged(log: Kept) -> None:
    async with watched(ACTIVITY) as engine:
        for name in ("helped", "late", "broken"):
            await answer(engine, name)
        await stopped(engine)
        await until(lambda: len(log.about("A generation has ended")) == 4)
        client = AsyncClient(raise_request_exception=False)
        await client.post("/llmstream/conversations/", SECRET, content_type="application/json")
    (raised,) = [item for item in log.told if item.get("error")]
    assert (raised["error"], raised["level"]) == ("RuntimeError", "ERROR")
    assert {"generation", "conversation", "model", "code"} <= raised.keys()
    assert log.lines
    assert not [line for line in log.lines if SECRET in line]


def test_the_recipe_is_a_configuration() -> None:
    recipe = snippet("docs/monitoring.md", "JSONFormatter")["LOGGING"]
    logger = logging.getLogger("llmstream")
    handlers, propagate, level = list(logger.handlers), logger.propagate, logger.level
    try:
        dictConfig(recipe)
        assert [type(handler.formatter).__name__ for handler in logger.handlers] == ["JSONFormatter"]
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


Slow: Any = snippet("docs/monitoring.md", "class Slow")["Slow"]


class Failing(Observer):
    """Fails whenever it is told something."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError


async def test_the_example_observer_notes_failures_beside_one_that_fails_itself(log: Kept) -> None:
    async with watched(f"{__name__}.Failing", f"{__name__}.Slow") as engine:
        assert (await answer(engine, "late")).status == "failed"
        ((model, code, _),) = instance_of(f"{__name__}.Slow").calls
    assert (model, code) == ("late", "provider_timeout")
    assert log.about("An observer failed")
