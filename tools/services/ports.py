"""Loopback ports."""

from __future__ import annotations

import os
import random
import socket
from collections import deque

# Above the ports that browsers refuse, below those that Linux hands to outgoing connections.
LOWEST, HIGHEST = 10081, 32767
#: So many of a process's ports are kept for it.
KEPT = 64

_marks: deque[int] = deque()


def free_port() -> int:
    """Return a loopback TCP port that nothing listens on, no outgoing connection will take, and nobody else gets here.

    A server takes seconds until it listens, and does not while it is down: processes of tests beside this one find
    UDP's port of the same number taken, as long as this process lives or until it has asked for many more.
    """
    while True:
        port = random.randint(LOWEST, HIGHEST)
        with socket.socket(type=socket.SOCK_STREAM) as probe, socket.socket(type=socket.SOCK_DGRAM) as mark:
            try:
                mark.bind(("127.0.0.1", port))
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _marks.append(mark.detach())
        if len(_marks) > KEPT:
            os.close(_marks.popleft())
        return port


def port_open(port: int) -> bool:
    """Whether something listens on a loopback TCP port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
