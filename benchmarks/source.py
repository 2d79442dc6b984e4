"""The paced answer that every case streams, and the request parameters that choose it.

A token's text says when it was due, so that the client's latency counts a source that falls behind.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from time import monotonic
from typing import Self
from urllib.parse import parse_qs, urlencode

_DUE_MODULUS = 10**10


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of ``tokens`` tokens, ``rate`` a second; the first one ``delay`` seconds after the request."""

    tokens: int
    rate: float
    delay: float = 0.0

    @classmethod
    def from_query(cls, query: bytes | str) -> Self:
        """Read what ``query`` wrote."""
        fields = parse_qs(query.decode() if isinstance(query, bytes) else query)
        return cls(int(fields["tokens"][0]), float(fields["rate"][0]), float(fields["delay"][0]))

    @property
    def query(self) -> str:
        """The query string of a request for this answer."""
        return urlencode({"tokens": self.tokens, "rate": self.rate, "delay": self.delay})

    @property
    def seconds(self) -> float:
        """How long the answer takes."""
        return self.delay + self.tokens / self.rate


def token(index: int, due: float) -> str:
    """Print a token: its index and the CLOCK_MONOTONIC second at which it was due, as the client reads them."""
    return f"~{index:03d}{int(due * 1e6) % _DUE_MODULUS:010d}"


async def paced(answer: Answer) -> AsyncGenerator[str, None]:
    """Yield the answer's tokens, each when it is due; a late one at once, after one turn of the event loop."""
    start = monotonic() + answer.delay
    for index in range(answer.tokens):
        due = start + index / answer.rate
        await asyncio.sleep(max(0.0, due - monotonic()))
        yield token(index, due)


def frame(text: str) -> bytes:
    """Encode one token the way a hand-written SSE view does."""
    return f"data: {json.dumps({'type': 'text-delta', 'delta': text})}\n\n".encode()


#: The first bytes of every stream, so that it counts as open before its first token.
OPENING = b": open\n\n"
#: The last bytes of every stream.
CLOSING = b"data: [DONE]\n\n"
