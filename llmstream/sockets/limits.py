"""What one user may do in one process: sockets, and frames per second over all of them."""

from __future__ import annotations

from collections.abc import Hashable

from ..conf import get_settings
from ..engine import Engine


class Allowance:
    """One user's sockets and frames: a bucket that holds ``frame_burst`` and fills at ``frames_per_second``."""

    def __init__(self, now: float) -> None:
        self.sockets = 0
        self._left = float(get_settings().frame_burst)
        self._counted = now

    def take(self, now: float) -> bool:
        """Count a frame; return False when it is one too many."""
        self._fill(now)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def is_full(self, now: float) -> bool:
        """Whether it is as good as a new one."""
        self._fill(now)
        return self._left >= get_settings().frame_burst

    def _fill(self, now: float) -> None:
        settings = get_settings()
        filled = self._left + (now - self._counted) * settings.frames_per_second
        self._left, self._counted = min(filled, float(settings.frame_burst)), now


class Allowances:
    """The allowances of everybody who has a socket on an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._by_user: dict[Hashable, Allowance] = {}
        #: Users without a socket whose buckets are not full yet: coming back must not fill them.
        self._gone: set[Hashable] = set()
        engine.tickers.append(self._forget)

    def open(self, user: Hashable) -> Allowance | None:
        """Count a socket in; None when the user has as many as one may. Every other answer needs its ``close``."""
        allowance = self._by_user.get(user) or Allowance(self._engine.loop.time())
        if allowance.sockets >= get_settings().max_sockets_per_user:
            return None
        allowance.sockets += 1
        self._by_user[user] = allowance
        self._gone.discard(user)
        return allowance

    def close(self, user: Hashable) -> None:
        """Count a socket out."""
        if (allowance := self._by_user.get(user)) is not None:
            allowance.sockets -= 1
            if not allowance.sockets:
                self._gone.add(user)

    def _forget(self, now: float) -> None:
        for user in [user for user in self._gone if self._by_user[user].is_full(now)]:
            self._gone.discard(user)
            del self._by_user[user]
