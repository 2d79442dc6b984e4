"""The decorator: what a function's signature tells the model, and what comes back from it."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Annotated, Any, Literal, cast

import pytest
from pydantic import BaseModel, Field

from llmstream.exceptions import ToolInvalidInput
from llmstream.tools import Tool, ToolContext, ToolError, tool
from tests.support import until


class Place(BaseModel):
    """Where."""

    name: str
    country: str = "DE"


@tool
def forecast(
    run: ToolContext,
    place: Place,
    day: date,
    unit: Annotated[Literal["c", "f"], Field(description="Celsius or Fahrenheit")] = "c",
    json: bool = False,
) -> tuple[Place, date, str, bool]:
    """Look up the weather."""
    return place, day, unit, json


def test_a_signature_becomes_a_schema() -> None:
    spec = forecast.spec
    assert (spec.name, spec.description) == ("forecast", "Look up the weather.")
    assert set(spec.parameters["properties"]) == {"place", "day", "unit", "json"}
    assert spec.parameters["properties"]["unit"]["description"] == "Celsius or Fahrenheit"
    assert spec.parameters["required"] == ["place", "day"]
    assert spec.parameters["additionalProperties"] is False
    assert not [schema for schema in spec.parameters["properties"].values() if "title" in schema]


def test_arguments_are_of_the_declared_types_and_have_their_defaults() -> None:
    given = forecast.arguments({"place": {"name": "Ulm"}, "day": "2026-01-02", "json": True})
    assert given == {"place": Place(name="Ulm"), "day": date(2026, 1, 2), "unit": "c", "json": True}
    assert forecast.call(given, cast(ToolContext, None)) == (Place(name="Ulm"), date(2026, 1, 2), "c", True)


def test_what_is_wrong_is_named_without_its_value() -> None:
    with pytest.raises(ToolInvalidInput) as told:
        forecast.arguments({"place": {"name": "x"}, "day": "s3cret", "unit": "k"})
    assert told.value.message == "The tool's input is not valid: day: date_from_datetime_parsing; unit: literal_error."


def test_names_descriptions_and_limits_can_be_given() -> None:
    @tool(name="other-name", description="Other.", approval=True, timeout=5)
    def function() -> str:
        return "called"

    assert isinstance(function, Tool)
    assert (function.spec.name, function.spec.description, function.timeout) == ("other-name", "Other.", 5)
    assert function.needs_approval({})
    assert function.spec.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert function() == "called"


def untyped(a) -> None:  # type: ignore[no-untyped-def]
    """Lack a type."""


def nameless(*args: int) -> None:
    """Lack a name."""


def positional(a: int, /) -> None:
    """Cannot be called by name."""


@pytest.mark.parametrize("function", [untyped, nameless, positional])
def test_a_function_that_cannot_be_described_is_no_tool(function: Any) -> None:
    with pytest.raises(TypeError, match="needs a name and a type"):
        tool(function)


def test_a_name_that_services_refuse_is_refused() -> None:
    with pytest.raises(TypeError, match="no name for a tool"):
        tool(name="two words")(nameless)


class Teller:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def tell(self, kind: str, **fields: Any) -> None:
        """Keep an event."""
        self.told.append((kind, fields))


def context(teller: Teller, max_events: int = 100) -> ToolContext:
    """Return a run that tells ``teller``."""
    return ToolContext(teller, call="c", user_id=None, conversation_id="c", generation_id="g", max_events=max_events)


async def test_further_progress_is_passed_over_and_other_news_fail() -> None:
    run = context(teller := Teller(), max_events=3)
    for number in range(5):
        await run.progress(number)
    assert [fields["progress"] for _, fields in teller.told] == [0, 1, 2]
    with pytest.raises(ToolError):
        await run.phase("more")


async def test_what_is_told_is_plain_json() -> None:
    run = context(teller := Teller())
    await run.data("day", {"date": date(2026, 1, 2)})
    assert teller.told == [("data", {"name": "day", "data": {"date": "2026-01-02"}})]
    for bad in (object(), {1: 2}, "x" * 70_000):
        with pytest.raises(ToolError):
            await run.data("bad", bad)


async def test_a_thread_tells_without_waiting_and_in_order() -> None:
    run = context(teller := Teller())

    def work() -> None:
        run.phase("working", "hard")
        for number in range(3):
            run.progress(number)

    await asyncio.to_thread(work)
    await until(lambda: len(teller.told) == 4)
    assert [kind for kind, _ in teller.told] == ["phase"] + ["tool-progress"] * 3


async def test_a_call_that_is_over_tells_nothing() -> None:
    run = context(teller := Teller())
    run.close()
    await run.phase("late")
    await asyncio.to_thread(run.progress, 1)
    await asyncio.sleep(0)
    assert teller.told == []
