"""The tools of one model call at work: side by side, each within its time, and no failure is more than its own."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson
from django.utils import timezone

from ..conf import get_settings
from ..events import TOOL_APPROVAL_REQUEST, TOOL_CALL, TOOL_RESULT, WireEvent, clean_json, clean_text
from ..exceptions import ToolError, ToolInvalidInput, ToolTimeout, ToolUnknown
from ..log.rows import database_alias
from ..models import ToolCall
from ..providers.base import ToolCall as Asked
from ..toolbox.base import Tool
from ..toolbox.context import ToolContext
from ..toolbox.results import checked_json, tool_error_object
from ..toolbox.threads import run_in_thread
from .claims import Claim
from .observed import observed_tool
from .teller import RunTeller

logger = logging.getLogger("llmstream.tools")

_NAME_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that the model has asked for: what is known of it, and why it cannot run if it cannot."""

    id: str
    name: str
    input: Any = None
    tool: Tool | None = None
    arguments: Mapping[str, Any] | None = None
    error: ToolError | None = None
    approval: bool = False

    @property
    def timeout(self) -> float:
        """Seconds that it may take."""
        return self.tool.timeout if self.tool else 0.0


class ToolCalls:
    """Notes what a model asks for and runs it, for one run of a generation."""

    def __init__(self, claim: Claim, teller: RunTeller, tools: Mapping[str, Tool]) -> None:
        self._claim = claim
        self._teller = teller
        self._tools = tools

    def ask(self, asked: Asked, step: int) -> Call:
        """Store that the model asks for a tool."""
        given, unread = _input(asked.arguments)
        name = clean_text(asked.name)[:_NAME_LENGTH]
        call = self._checked(self._teller.call_id(asked.id), name, given, unread)
        fields = {"call": call.id, "tool": name, "input": given}
        store = partial(_store_call, self._claim.generation, fields)
        self._teller.tell_and_store(store, TOOL_CALL, **fields, step=step)
        return call

    def again(self, part: Mapping[str, Any]) -> Call:
        """Return a call that an earlier owner has stored and somebody has approved."""
        return replace(self._checked(part["call"], part["tool"], part["input"], None), approval=False)

    async def run(self, calls: Sequence[Call]) -> None:
        """Run calls side by side; each result is stored as it comes."""
        tasks = [asyncio.create_task(self._run(call)) for call in calls]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def requests(self, calls: Sequence[Call]) -> tuple[datetime, list[WireEvent]]:
        """Return until when the calls wait for a decision, and the events that ask for it."""
        expires_at = timezone.now() + timedelta(seconds=get_settings().approval_timeout)
        told = expires_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        build = partial(self._teller.build, TOOL_APPROVAL_REQUEST, expires_at=told)
        return expires_at, [build(call=call.id, tool=call.name, input=call.input) for call in calls]

    def _checked(self, identity: str, name: str, given: Any, error: ToolError | None) -> Call:
        tool = self._tools.get(name)
        if tool is None:
            return Call(identity, name, given, error=ToolUnknown())
        try:
            if error or not isinstance(given, dict):
                raise error or ToolInvalidInput()
            arguments = tool.arguments(given)
            return Call(identity, name, given, tool, arguments, approval=tool.needs_approval(arguments))
        except ToolError as refused:
            return Call(identity, name, given, tool, error=refused)
        except Exception:
            logger.exception(
                "The tool %s could not be asked for approval", name, extra=self._claim.about(ToolError.code)
            )
            return Call(identity, name, given, tool, error=ToolError())

    async def _run(self, call: Call) -> None:
        try:
            if call.error or call.tool is None:
                raise call.error or ToolUnknown()
            with observed_tool(self._claim, call.id, call.name):
                output = checked_json(await self._call(call, call.tool))
        except ToolError as error:
            self._returned(call, error=clean_json(tool_error_object(error)))
        else:
            self._returned(call, output=output)

    async def _call(self, call: Call, tool: Tool) -> Any:
        context = self._context(call)
        work = partial(tool.call, call.arguments or {}, context)
        # In a task of its own, so that a cancellation that comes out of the tool is told from one that goes into it.
        task = asyncio.create_task(_invoke(work, tool.function))
        task.add_done_callback(_heard_out)
        try:
            done, _ = await asyncio.wait([task], timeout=tool.timeout)
        finally:
            context.close()
            task.cancel()
        if not done:
            raise ToolTimeout
        if task.cancelled():
            raise ToolError
        if (error := task.exception()) is None:
            return task.result()
        if isinstance(error, ToolError):
            raise error
        about = {**self._claim.about(ToolError.code), "tool": tool.name}
        told = "The tool %s of generation %s failed"
        logger.error(told, tool.name, self._claim.generation_id, exc_info=error, extra=about)
        raise ToolError

    def _context(self, call: Call) -> ToolContext:
        return ToolContext(
            self._teller,
            call=call.id,
            user_id=self._claim.author,
            conversation_id=self._claim.conversation_id,
            generation_id=self._claim.generation_id,
            max_events=get_settings().max_tool_events,
        )

    def _returned(self, call: Call, **result: Any) -> None:
        store = partial(_store_result, self._claim.generation, call.id, result)
        self._teller.tell_and_store(store, TOOL_RESULT, call=call.id, tool=call.name, **result)


async def _invoke(call: Callable[[], Any], function: Callable[..., Any]) -> Any:
    try:
        return await call() if inspect.iscoroutinefunction(function) else await run_in_thread(call)
    except SystemExit as error:  # of a command line, say; it would end the event loop, and the server with it
        raise RuntimeError("The tool has tried to end the process.") from error


def _heard_out(task: asyncio.Task[Any]) -> None:
    """Look at how a task ended, which may be long after anybody waited for it."""
    if not task.cancelled():
        task.exception()


def _input(arguments: str) -> tuple[Any, ToolError | None]:
    """Return the arguments as JSON, or as the text that they are and why they cannot be used."""
    arguments = clean_text(arguments)
    if len(arguments) > get_settings().max_tool_bytes:
        return None, ToolInvalidInput("The tool's input is too large.")
    try:
        return clean_json(orjson.loads(arguments or "{}")), None
    except (orjson.JSONDecodeError, TypeError):  # the latter when it is deeper than it can be written again
        return arguments, ToolInvalidInput("The tool's input is no JSON.")


def _store_call(generation: int, fields: Mapping[str, Any]) -> None:
    ToolCall.objects.using(database_alias()).create(generation_id=generation, **fields)


def _store_result(generation: int, call: str, result: Mapping[str, Any]) -> None:
    error = result.get("error")
    ToolCall.objects.using(database_alias()).filter(generation=generation, call=call).update(
        status=ToolCall.Status.FAILED if error else ToolCall.Status.DONE,
        output=result.get("output"),
        error=error["code"] if error else "",
    )
