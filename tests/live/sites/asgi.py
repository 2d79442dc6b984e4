"""The recommended wiring: streams run outside Django's request cycle, and sockets beside it."""

from __future__ import annotations

from tests.asgi import application

__all__ = ["application"]
