"""The load client: compiled here, run in a process of its own. ``client.c`` says what it measures."""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SOURCE = Path(__file__).with_name("client.c")
_NO_COMPILER = """The benchmarks' load client is written in C, and no compiler was found.
On Debian and Ubuntu: apt-get install gcc libc6-dev"""

TRIGGER = 1
CLOSE_WHEN_COMPLETE = 2
HOLD = 4
WEBSOCKET = 8
KEEP = 16


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a run: sent ``at`` seconds after the start, answered with ``tokens`` tokens.

    ``message`` follows the content of a WebSocket's handshake once the server has agreed.
    """

    content: bytes
    at: float = 0.0
    tokens: int = 0
    flags: int = 0
    message: bytes = b""


def get(path: str, headers: Sequence[str] = ()) -> bytes:
    """Print a GET request."""
    return _request(f"GET {path}", headers, b"")


def post(path: str, headers: Sequence[str] = (), content: bytes = b"") -> bytes:
    """Print a POST request."""
    return _request(f"POST {path}", [*headers, f"Content-Length: {len(content)}"], content)


def handshake(path: str, headers: Sequence[str] = ()) -> bytes:
    """Print a WebSocket handshake as a browser on a page of the site does, without an offer to compress."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    return _request(f"GET {path}", [*headers, "Origin: http://127.0.0.1", *upgrade], b"")


def text_frame(text: str) -> bytes:
    """Print a client's WebSocket frame, masked; at most 125 bytes."""
    payload, mask = text.encode(), os.urandom(4)
    assert len(payload) < 126
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([0x81, 0x80 | len(payload)]) + mask + masked


def _request(call: str, headers: Sequence[str], content: bytes) -> bytes:
    lines = [f"{call} HTTP/1.1", "Host: 127.0.0.1", "Accept: text/event-stream", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


def spread(requests: Sequence[bytes], ramp: float, tokens: int, flags: int = 0) -> list[Request]:
    """Send requests evenly over ``ramp`` seconds."""
    step = ramp / len(requests)
    return [Request(content, index * step, tokens, flags) for index, content in enumerate(requests)]


class Client:
    """The compiled client."""

    def __init__(self, home: Path, core: int) -> None:
        self._home = home
        self._core = core
        self._program = home / "client"
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise SystemExit(_NO_COMPILER)
        built = subprocess.run(
            [compiler, "-O2", "-o", str(self._program), str(_SOURCE)], capture_output=True, text=True, check=False
        )
        if built.returncode:
            raise SystemExit(f"The load client does not compile:\n{built.stderr}")

    def run(
        self,
        requests: Sequence[Request],
        port: int,
        *,
        limit: float,
        quiet: float = 20.0,
        on_open: Callable[[], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Send the requests and return what the client measured; ends after ``limit`` or ``quiet`` silent seconds.

        ``on_open`` is called once all streams of a plan with TRIGGER or HOLD are open; the triggers are sent after it.
        ``on_end`` is called when the run is over; streams of a plan with KEEP are closed after it.
        """
        with self._plan(requests) as plan:
            command = [str(self._program), str(plan), str(port), str(self._core), str(limit), str(quiet)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
                try:
                    return self._follow(process, limit, on_open, on_end)
                finally:
                    process.kill()

    def _follow(
        self,
        process: subprocess.Popen[str],
        limit: float,
        on_open: Callable[[], None] | None,
        on_end: Callable[[], None] | None,
    ) -> dict[str, Any]:
        assert process.stdin
        assert process.stdout
        line = process.stdout.readline()
        if line == "open\n":
            if on_open:
                on_open()
            process.stdin.write("go\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if on_end:
            on_end()
        process.stdin.close()
        if process.wait(limit) or not line.startswith("{"):
            raise SystemExit("The load client failed.")
        measured: dict[str, Any] = json.loads(line)
        measured["utilisation"] = measured["cpu_s"] / measured["wall_s"] if measured["wall_s"] > 0 else 0.0
        return measured

    @contextmanager
    def _plan(self, requests: Sequence[Request]) -> Iterator[Path]:
        ordered = sorted(requests, key=lambda request: (request.flags & TRIGGER, request.at))
        with tempfile.NamedTemporaryFile(dir=self._home, prefix="plan-") as file:
            for request in ordered:
                lengths = len(request.content), len(request.message)
                head = struct.pack("<5I", int(request.at * 1e6), request.tokens, request.flags, *lengths)
                file.write(head + request.content + request.message)
            file.flush()
            yield Path(file.name)
