"""Tool calls put together from the fragments in which a stream carries them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from ..exceptions import ProviderMalformed
from .base import ToolCall
from .json_object import json_object

#: Longest arguments of one stream's calls together.
_MOST_CHARS = 1_000_000


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""

    @property
    def whole(self) -> bool:
        """Whether the arguments are a JSON object already."""
        return self.arguments.endswith("}") and json_object(self.arguments) is not None


class ToolFragments:
    """The calls of one stream.

    A fragment has the form of Chat Completions' and belongs to the call of its ``index``. Services deviate: they leave
    the index or the id out, repeat id and name in every fragment, send a whole call at once or once more, or give every
    call the same index.
    """

    __slots__ = ("_by_index", "_calls", "_chars")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._chars = 0

    def add(self, fragments: Iterable[dict[str, Any]]) -> None:
        """Take the fragments of one chunk; raises ProviderMalformed when they are too long."""
        for fragment in fragments:
            function = fragment.get("function") or {}
            index, arguments = fragment.get("index"), _text(function.get("arguments"))
            given = _Call(str(fragment.get("id") or ""), str(function.get("name") or ""), arguments)
            self._chars += len(arguments)
            if self._chars > _MOST_CHARS:
                raise ProviderMalformed
            call = self._find(index if isinstance(index, int) else None, given)
            call.id, call.name = call.id or given.id, call.name or given.name
            if not (call.whole and arguments == call.arguments):
                call.arguments += arguments

    def put(self, index: int, identity: str, name: str, arguments: str) -> None:
        """Take a call as it is in the end, whatever its fragments have come to; what is empty changes nothing.

        Raises ProviderMalformed when its arguments are too long.
        """
        if len(arguments) > _MOST_CHARS:
            raise ProviderMalformed
        given = _Call(identity, name, arguments)
        call = self._find(index, given)
        call.id, call.name = identity or call.id, name or call.name
        call.arguments = arguments or call.arguments

    def take(self, *, cut: bool = False) -> list[ToolCall]:
        """Return the calls and forget them; when the model was ``cut`` short, only those that are whole."""
        calls, self._calls = self._calls, []
        self._by_index.clear()
        meant = [call for call in calls if call.name and (call.whole or not cut)]
        return [ToolCall(call.id, call.name, call.arguments or "{}") for call in meant]

    def _find(self, index: int | None, given: _Call) -> _Call:
        """Return the call that a fragment goes on with, or a new one."""
        if given.id and (known := next((call for call in self._calls if call.id == given.id), None)):
            return known
        newest = self._calls[-1] if self._calls else None
        call = newest if index is None else self._by_index.get(index)
        if call is None or _is_another(call, given):
            call = _Call()
            self._calls.append(call)
            if index is not None:
                self._by_index[index] = call
        return call


def _is_another(call: _Call, given: _Call) -> bool:
    """Whether a fragment begins another call although its index, or the lack of one, points to this one."""
    if given.id and call.id:
        return given.id != call.id
    if not given.name or not call.whole:
        return False
    return (given.name, given.arguments) != (call.name, call.arguments) and given.arguments != ""


def _text(arguments: Any) -> str:
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else orjson.dumps(arguments).decode()
