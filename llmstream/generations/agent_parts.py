"""What an agent tells of its own work: phases, data, and the tools that it runs itself."""

from __future__ import annotations

from ..conf import get_settings
from ..events import DATA, PHASE, TOOL_CALL, TOOL_RESULT, clean_text
from ..exceptions import ProviderMalformed, ToolError
from ..providers.base import AgentPart, Data, Phase, ToolFinished, ToolStarted
from ..toolbox.results import checked_json, tool_error_object
from .teller import RunTeller

_NAME_LENGTH = 64


class AgentParts:
    """Shows and stores those of one model call; raises ProviderMalformed for what is no JSON or beyond the limits."""

    def __init__(self, teller: RunTeller) -> None:
        self._teller = teller
        self._left = get_settings().max_tool_events
        #: The agent's names of its calls, and ours.
        self._calls: dict[str, tuple[str, str]] = {}

    def show(self, part: AgentPart, step: int) -> None:
        """Take a part."""
        self._left -= 1
        if self._left < 0:
            raise ProviderMalformed
        try:
            self._show(part, step)
        except ToolError:
            raise ProviderMalformed from None

    def _show(self, part: AgentPart, step: int) -> None:
        if isinstance(part, Phase):
            self._teller.tell(PHASE, name=checked_json(part.name), detail=checked_json(part.detail))
        elif isinstance(part, Data):
            self._teller.tell(DATA, name=checked_json(part.name), data=checked_json(part.data))
        elif isinstance(part, ToolStarted):
            call, tool = self._teller.call_id(part.id), clean_text(part.name)[:_NAME_LENGTH]
            self._calls[part.id] = call, tool
            self._teller.tell(TOOL_CALL, call=call, tool=tool, input=checked_json(part.input), step=step)
        elif isinstance(part, ToolFinished) and part.id in self._calls:
            call, tool = self._calls.pop(part.id)
            if part.failed:
                self._teller.tell(TOOL_RESULT, call=call, tool=tool, error=tool_error_object(ToolError()))
            else:
                self._teller.tell(TOOL_RESULT, call=call, tool=tool, output=checked_json(part.output))
