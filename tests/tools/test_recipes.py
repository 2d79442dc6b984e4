"""The recipes for other frameworks' agents: their tools are shown, run once, and what they say is the answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from llmstream.models import Generation, UsageRecord
from tests.documentation import snippet
from tests.support import asked, check_log, ended, site

pytestmark = pytest.mark.django_db(transaction=True)

SUNNY = "It is sunny in Ulm."


@pytest.fixture
def models() -> Any:
    """What speaks for the agents' models."""
    return import_module("tests.tools.recipe_models")


@pytest.fixture
def recipe(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """A recipe of ``docs/agents.md`` as a module that a site could name."""
    module = ModuleType("recipe_under_test")
    vars(module).update(snippet("docs/agents.md", request.param))
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


async def answered(running: Engine, recipe: ModuleType) -> Generation:
    """Return the generation that the recipe's agent has answered."""
    with site(models={"default": {"PROVIDER": f"{recipe.__name__}.assistant"}}):
        generation = await ended((await asked(running, "How is the weather in Ulm?")).generation)
        await run_db(check_log, generation.conversation)
    return generation


def check(generation: Generation) -> None:
    """Check what both agents come to."""
    tool, text = generation.message.parts
    assert (tool["tool"], tool["output"]) == ("weather", SUNNY)
    assert text == {"type": "text", "text": f"I know: {SUNNY}"}
    assert generation.status == "completed"


@pytest.mark.parametrize("recipe", ["pydantic_ai"], indirect=True)
async def test_an_agent_of_pydantic_ai(running: Engine, recipe: Any, models: Any) -> None:
    recipe.agent.model = models.FunctionModel(stream_function=models.say)
    generation = await answered(running, recipe)
    check(generation)
    assert generation.message.parts[0]["input"] == {"city": "Ulm"}


@pytest.mark.parametrize("recipe", ["from agents import"], indirect=True)
async def test_an_agent_of_the_openai_sdk(running: Engine, recipe: Any, models: Any) -> None:
    models.set_tracing_disabled(True)
    recipe.agent.model = models.Scripted()
    check(await answered(running, recipe))
    usage = await run_db(UsageRecord.objects.get)
    assert (usage.input_tokens, usage.output_tokens) == (10, 6)
