"""Tools of a site, and a model that asks for them as its prompt says."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from django.contrib.auth import get_user_model

from llmstream.providers.base import Finish, ProviderRequest, ToolCall, Usage
from llmstream.tools import ToolContext, ToolError, tool
from tests.support import model

HERE = "tests.tools.site"
#: Generations whose ``hang_on`` was cancelled.
CANCELLED: list[str] = []


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def fail(text: str = "") -> None:
    """Fail, for a reason that the model is told or for none."""
    if text:
        raise ToolError(text)
    raise RuntimeError("secret")


@tool
async def report(run: ToolContext, steps: int) -> dict[str, Any]:
    """Take a while and tell about it."""
    await run.phase("reporting", f"{steps} steps")
    for number in range(steps):
        await run.progress({"step": number + 1})
        await asyncio.sleep(0)
    await run.data("chart", {"bars": list(range(steps))})
    return {"user": run.user_id, "conversation": run.conversation_id, "generation": run.generation_id}


@tool(approval=True)
async def wipe(what: str) -> str:
    """Delete something, if somebody agrees."""
    return f"wiped {what}"


@tool(approval=lambda amount: amount > 100)
def pay(amount: int) -> str:
    """Pay; more than a hundred only if somebody agrees."""
    return f"paid {amount}"


@tool
def count_users(run: ToolContext) -> str:
    """Count the users, in a thread."""
    run.progress(threading.current_thread().name)
    return f"{get_user_model()._default_manager.count()} users"


@tool(timeout=0.05)
async def hang() -> None:
    """Never return."""
    await asyncio.Event().wait()


@tool
async def hang_on(run: ToolContext) -> None:
    """Tell that it has begun, never return, and note when it is cancelled."""
    await run.progress("begun")
    try:
        await asyncio.Event().wait()
    finally:
        CANCELLED.append(run.generation_id)


@tool
async def big(size: int) -> str:
    """Return much."""
    return "x" * size


@tool
async def odd() -> object:
    """Return what is no JSON."""
    return object()


@tool
async def give() -> float:
    """Return a large number."""
    return 1e30


@tool
async def endless() -> dict[str, Any]:
    """Return what has no end."""
    found: dict[str, Any] = {}
    found["found"] = found
    return found


@tool
async def leave() -> None:
    """Do what a command line does with arguments that it does not take."""
    raise SystemExit(2)


@tool
def leave_thread() -> None:
    """Do the same in a thread."""
    raise SystemExit(2)


def tools(*names: str) -> list[str]:
    """Return the paths of tools here."""
    return [f"{HERE}.{name}" for name in names]


def agent(*names: str, script: Any = None, **entry: Any) -> dict[str, Any]:
    """Return a model entry with tools, played by ``script`` or by ``orders``."""
    return model(script or orders, TOOLS=tools(*names), **entry)


def order(*steps: Iterable[tuple[str, Any]], text: str = "Done.") -> str:
    """Return the prompt for ``orders``: each step is a list of tools and their input."""
    return json.dumps({"steps": [list(step) for step in steps], "text": text})


async def orders(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Ask for the tools that the prompt names, one list after the other, then say its text and what came out."""
    prompt = json.loads(next(turn.content for turn in request.messages if turn.role == "user"))
    done = sum(bool(turn.tool_calls) for turn in request.messages)
    yield f"Step {done + 1}. "
    if done < len(prompt["steps"]):
        for number, (name, given) in enumerate(prompt["steps"][done]):
            text = given if isinstance(given, str) else json.dumps(given)
            yield ToolCall(f"call_{done}_{number}", name, text)
        yield Usage(10 * (done + 1), 3)
        yield Finish("tool_calls")
    else:
        yield prompt["text"]
        yield Usage(10 * (done + 1), 5)
        yield Finish("stop")
