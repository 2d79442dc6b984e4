"""An OpenAI-compatible server that streams the paced answer: ``python -m benchmarks.upstream PORT TOKENS RATE``.

It stands for the model, so its CPU time is nobody's; one event goes out in one write, as real services do it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from .source import Answer, paced

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n"
    b"cache-control: no-cache\r\nx-request-id: req_bench\r\n\r\n"
)
_CHUNK = (
    '{"id":"chatcmpl-BbqVpRkzjvEcLdWF0ZqV1sHrg4Nhe","object":"chat.completion.chunk","created":1750000000,'
    '"model":"bench","service_tier":"default","system_fingerprint":"fp_bench","choices":[%s],"usage":%s}'
)
_FIRST = '{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}'
_TOKEN = '{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null}'
_LAST = '{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}'
_USAGE = (
    '{"prompt_tokens":9,"completion_tokens":%d,"total_tokens":%d,'
    '"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}'
)


def event(data: str) -> bytes:
    """Frame one SSE event as one HTTP chunk."""
    body = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(body), body)


class Upstream(asyncio.Protocol):
    """One connection; requests on it follow each other."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._received = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        # uvloop's transports do what asyncio.Transport promises without being one.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer once the request is complete; what it asks is not looked at."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        if len(body) < length:
            return
        self._received = body[length:]
        self._task = asyncio.get_running_loop().create_task(self._reply())

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop talking."""
        if self._task:
            self._task.cancel()

    async def _reply(self) -> None:
        write = self._transport.write
        write(_HEAD + event(_CHUNK % (_FIRST, "null")))
        async for text in paced(self._answer):
            write(event(_CHUNK % (_TOKEN % text, "null")))
        write(event(_CHUNK % (_LAST, "null")))
        tokens = self._answer.tokens
        write(event(_CHUNK % ("", _USAGE % (tokens, tokens + 9))) + event("[DONE]") + b"0\r\n\r\n")


async def main(port: int, answer: Answer) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(lambda: Upstream(answer), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Answer(int(sys.argv[2]), float(sys.argv[3]))))
