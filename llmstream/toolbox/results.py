"""What comes out of a tool, as JSON within the site's limits."""

from __future__ import annotations

from typing import Any

import orjson

from ..conf import get_settings
from ..events import clean_json
from ..exceptions import ToolError, message_of


def checked_json(value: Any) -> Any:
    """Return JSON data as it can be stored; raises ToolError when it is no JSON or too large."""
    try:
        encoded = orjson.dumps(clean_json(value))
    except TypeError:
        raise ToolError("The tool's output is no JSON.") from None
    if len(encoded) > get_settings().max_tool_bytes:
        raise ToolError("The tool's output is too large.")
    # Read back, since more than plain data can be encoded: dates, dataclasses.
    return orjson.loads(encoded)


def tool_error_object(error: ToolError) -> dict[str, str]:
    """Return what clients and the model see of a tool call's failure."""
    return {"code": error.code, "message": error.message}


def tool_text(part: dict[str, Any]) -> str:
    """Return what the model is told of a tool part's result; a call without one has failed."""
    if "output" in part:
        output = part["output"]
        return output if isinstance(output, str) else orjson.dumps(output).decode()
    error = part.get("error") or {"code": ToolError.code, "message": message_of(ToolError.code)}
    return orjson.dumps({"error": error}).decode()
