"""A tool: a function that a model may have run, and what is known of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..providers.base import ToolSpec
from .context import ToolContext


@dataclass(frozen=True, slots=True)
class Tool(ABC):
    """A function with its name, its description for the model, and its limits.

    ``approval`` says whether somebody has to agree before it runs, or is a function of the arguments that says so.
    ``timeout`` is seconds. Called, it does what the function does.
    """

    function: Callable[..., Any]
    name: str
    description: str
    approval: bool | Callable[..., bool] = False
    timeout: float = 30.0
    #: The JSON schema of the arguments, an object.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: The parameter that takes the ToolContext, if there is one.
    context: str = ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return ToolSpec(self.name, self.description, self.parameters)

    @abstractmethod
    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for the function; raises ToolInvalidInput for what does not fit the schema."""
        raise NotImplementedError

    def needs_approval(self, arguments: Mapping[str, Any]) -> bool:
        """Whether somebody has to agree to this call."""
        return bool(self.approval(**arguments)) if callable(self.approval) else self.approval

    def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        """Call the function with checked arguments."""
        return self.function(**arguments, **({self.context: context} if self.context else {}))
