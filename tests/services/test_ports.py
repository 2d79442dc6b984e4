"""Ports for servers that are yet to be started."""

from __future__ import annotations

import random
from itertools import chain

import pytest

from tools.services import ports


def test_a_port_is_nobody_else_s_although_no_server_is_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ports.free_port()
    assert not ports.port_open(given)
    draw = random.randint
    drawn = chain([given], iter(lambda: draw(ports.LOWEST, ports.HIGHEST), 0))
    monkeypatch.setattr(random, "randint", lambda *_: next(drawn))
    assert ports.free_port() != given
