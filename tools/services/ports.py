"""Loopback ports."""

from __future__ import annotations

import random
import socket

# Above the ports that browsers refuse, below those that Linux hands to outgoing connections.
LOWEST, HIGHEST = 10081, 32767


def free_port() -> int:
    """Return a loopback TCP port that nothing listens on and no outgoing connection will take."""
    while True:
        port = random.randint(LOWEST, HIGHEST)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def port_open(port: int) -> bool:
    """Whether something listens on a loopback TCP port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
