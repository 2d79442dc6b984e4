"""The tools of the demo's agent: a look-up that takes its time, and a booking that somebody has to agree to."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import Field

from llmstream.tools import ToolContext, ToolError, tool

#: Degrees Celsius, day by day.
_FORECASTS = {"Lisbon": [24, 26, 25], "Oslo": [3, 1, 4], "Berlin": [9, 11, 8]}
_PACE = 0.4


@tool
async def weather(
    run: ToolContext, city: str, days: Annotated[int, Field(ge=1, le=3, description="1 to 3 days")] = 1
) -> dict[str, Any]:
    """Return the temperatures of the coming days, invented for Lisbon, Oslo and Berlin."""
    if city not in _FORECASTS:
        raise ToolError(f"There is no forecast for {city}. There are forecasts for {', '.join(_FORECASTS)}.")
    await run.phase("looking", f"Looking up the weather in {city}")
    found: list[int] = []
    for day in range(days):
        await asyncio.sleep(_PACE)
        found.append(_FORECASTS[city][day])
        await run.progress({"done": day + 1, "total": days})
    await run.data("temperatures", {"city": city, "celsius": found})
    return {"city": city, "celsius": found}


@tool(approval=True)
def book_table(city: str, people: Annotated[int, Field(ge=1, le=20)]) -> str:
    """Book a table in a restaurant. Nothing is really booked."""
    return f"A table for {people} in {city} is booked."
