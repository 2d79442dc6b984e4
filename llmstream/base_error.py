"""What all errors of ``exceptions`` have in common; import it from there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from inspect import getdoc
from typing import Any, ClassVar

from django.utils.translation import gettext


class LLMStreamError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    temporary: ClassVar[bool] = False

    def __init__(self, message: Any = "", *, retry_after_ms: int | None = None, **extra: Any) -> None:
        self._message = message
        self.retry_after_ms = retry_after_ms
        #: Top-level members that go beside ``error`` in the envelope, such as the running generation of a 409.
        self.extra = extra
        super().__init__(message or text_of(type(self)))

    @property
    def message(self) -> str:
        """What people are told, in the language that is active when it is read."""
        return str(self._message) or gettext(text_of(type(self)))

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
    """Return the text that goes with a stable code, in the active language; the general one for an unknown code."""
    return gettext(_messages().get(code, text_of(LLMStreamError)))


def messages() -> frozenset[str]:
    """Return the texts of all errors, in English."""
    return frozenset(_messages().values())


def codes_of(error: type[LLMStreamError]) -> frozenset[str]:
    """Return the stable codes of an error class and of those below it."""
    return frozenset(child.code for child in _family(error))


@cache
def _messages() -> dict[str, str]:
    return {error.code: text_of(error) for error in _family(LLMStreamError)}


def _family(error: type[LLMStreamError]) -> Iterator[type[LLMStreamError]]:
    yield error
    for child in error.__subclasses__():
        yield from _family(child)


def text_of(error: type[LLMStreamError]) -> str:
    """Return what an error class says by itself, in English."""
    return (getdoc(error) or error.code).splitlines()[0]
