"""Tools for models, made of plain Python functions. Needs pydantic (extra ``tools``)::

    @tool
    async def weather(city: str, days: int = 1) -> str:
        "Look up the weather forecast of a city."

Name it in the model's entry: ``"TOOLS": ["mysite.tools.weather"]``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema

from .exceptions import ToolError, ToolInvalidInput
from .toolbox.base import Tool
from .toolbox.context import ToolContext

__all__ = ["Tool", "ToolContext", "ToolError", "tool"]

Function: TypeAlias = Callable[..., Any]
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
#: Of the faults of one input, so many are told to the model.
_TOLD = 5


class _Schema(GenerateJsonSchema):
    """Schemas without titles, which would only repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class FunctionTool(Tool):
    """A tool whose arguments pydantic checks."""

    model: type[BaseModel] = BaseModel

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for the function; raises ToolInvalidInput, which names what is wrong, not its value."""
        try:
            checked = self.model.model_validate(given)
        except ValidationError as error:
            faults = "; ".join(_faults(error))
        else:
            return {str(field.alias): getattr(checked, name) for name, field in self.model.model_fields.items()}
        raise ToolInvalidInput(f"The tool's input is not valid: {faults}.")


@overload
def tool(function: Function, /) -> Tool: ...


@overload
def tool(
    *, name: str = "", description: str = "", approval: bool | Callable[..., bool] = False, timeout: float = 30.0
) -> Callable[[Function], Tool]: ...


def tool(
    function: Function | None = None,
    /,
    *,
    name: str = "",
    description: str = "",
    approval: bool | Callable[..., bool] = False,
    timeout: float = 30.0,
) -> Tool | Callable[[Function], Tool]:
    """Make a function, a coroutine function or a plain one, a tool that models may be given.

    The annotations of its parameters become the JSON schema, its docstring the description, unless ``description`` is
    given. A parameter annotated with ``ToolContext`` gets the run and is hidden from the model. With ``approval`` a
    call waits until somebody agrees; a function of the same arguments decides for each call. A call that takes longer
    than ``timeout`` seconds has failed. Raises TypeError for parameters that have no type or no name.
    """

    def decorate(function: Function) -> Tool:
        called = name or function.__name__
        if not _NAME.fullmatch(called):
            raise TypeError(f"{called!r} is no name for a tool.")
        context, model = _model(function, called)
        return FunctionTool(
            function=function,
            name=called,
            description=description or inspect.getdoc(function) or "",
            approval=approval,
            timeout=timeout,
            parameters=_parameters(model),
            context=context,
            model=model,
        )

    return decorate if function is None else decorate(function)


def _model(function: Function, name: str) -> tuple[str, type[BaseModel]]:
    """Return the name of the context's parameter, and the model of the others."""
    hints = get_type_hints(function, include_extras=True)
    context, fields = "", dict[str, Any]()
    for number, (parameter, given) in enumerate(inspect.signature(function).parameters.items()):
        if given.kind not in (given.POSITIONAL_OR_KEYWORD, given.KEYWORD_ONLY) or parameter not in hints:
            raise TypeError(f"Parameter {parameter!r} of the tool {name!r} needs a name and a type.")
        if hints[parameter] is ToolContext:
            context = parameter
        else:
            default = ... if given.default is given.empty else given.default
            # Under a name of our own, since a parameter may be called what a model's attribute is.
            fields[f"p{number}"] = (hints[parameter], Field(default, alias=parameter))
    return context, create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def _parameters(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=_Schema)
    return {"properties": {}, **{key: value for key, value in schema.items() if key not in {"title", "description"}}}


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_context=False, include_input=False)[:_TOLD]:
        yield f"{'.'.join(map(str, fault['loc'])) or 'input'}: {fault['type']}"
