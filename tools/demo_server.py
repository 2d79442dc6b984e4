"""Second half of ``make demo``, inside its virtual environment: model, database, users, server."""

from __future__ import annotations

import socket
import sys

import uvicorn

from .demo_site import HOST, listen, prepare_model, prepare_site
from .environment import say


class DemoServer(uvicorn.Server):
    """Says where it is once it can be reached."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as usual, then print the address."""
        await super().startup(sockets)
        if self.started and sockets:
            say(f"\n  http://{HOST}:{sockets[0].getsockname()[1]}/   (Ctrl-C ends it)\n")


def main() -> None:
    """Set up and serve until interrupted."""
    prepare_model()
    prepare_site()
    config = uvicorn.Config(
        "project.asgi:application",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    DemoServer(config).run(sockets=[listen()])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
