"""What all errors of ``exceptions`` have in common; import it from there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from inspect import getdoc
from typing import Any, ClassVar


class LLMStreamError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    temporary: ClassVar[bool] = False

    def __init__(self, message: str = "", *, retry_after_ms: int | None = None, **extra: Any) -> None:
        self.message = message or _text(type(self))
        self.retry_after_ms = retry_after_ms
        #: Top-level members that go beside ``error`` in the envelope, such as the running generation of a 409.
        self.extra = extra
        super().__init__(self.message)

    def envelope(self) -> dict[str, Any]:
        """The wire form, the same on REST, SSE and WebSocket; ``message`` holds no internals."""
        return {
            "error": {
                "code": self.code,
                "status": self.status,
                "message": self.message,
                "temporary": self.temporary,
                "retry_after_ms": self.retry_after_ms,
            },
            **self.extra,
        }


def message_of(code: str) -> str:
    """Return the text that goes with a stable code; the general one for a code that is unknown here."""
    return _messages().get(code, _text(LLMStreamError))


def codes_of(error: type[LLMStreamError]) -> frozenset[str]:
    """Return the stable codes of an error class and of those below it."""
    return frozenset(child.code for child in _family(error))


@cache
def _messages() -> dict[str, str]:
    return {error.code: _text(error) for error in _family(LLMStreamError)}


def _family(error: type[LLMStreamError]) -> Iterator[type[LLMStreamError]]:
    yield error
    for child in error.__subclasses__():
        yield from _family(child)


def _text(error: type[LLMStreamError]) -> str:
    return (getdoc(error) or error.code).splitlines()[0]
