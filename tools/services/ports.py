"""Loopback ports."""

from __future__ import annotations

import atexit
import random
import socket

# Above the ports that browsers refuse, below those that Linux hands to outgoing connections.
LOWEST, HIGHEST = 10081, 32767


def free_port() -> int:
    """Return a loopback TCP port that nothing listens on and no outgoing connection will take.

    It is given out once, among all processes, while this one lives: a server may come late, or come again.
    """
    while True:
        port = random.randint(LOWEST, HIGHEST)
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        # From now on those may bind it, too, who say that they share it, as servers do; the next holder does not.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        atexit.register(holder.close)
        return port


def port_open(port: int) -> bool:
    """Whether something listens on a loopback TCP port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
