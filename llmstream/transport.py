"""What ASGI has no message for: cutting a client's connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def abort_of(send: Any) -> Callable[[], None] | None:
    """Return what cuts the connection behind an ASGI ``send``, or None when the server keeps it to itself.

    Only closed, a connection would keep what its client has not taken for as long as the client pleases. uvicorn's
    ``send`` belongs to what holds its transport, and Channels' session middleware puts one of its own before it.
    """
    holder = getattr(send, "__self__", None)
    while (inner := getattr(holder, "real_send", None)) is not None:
        holder = getattr(inner, "__self__", None)
    return getattr(getattr(holder, "transport", None), "abort", None)
