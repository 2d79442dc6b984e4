"""How many streams and waiting long polls may be open in one process, and how many of them by one user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from ..access import Access
from ..conf import get_settings
from ..engine import Engine
from ..exceptions import Overloaded, TooManyStreams


class Places:
    """Those that are taken on an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._taken: Counter[Hashable] = Counter()
        #: Long polls that wait; streams are the engine's.
        self._polls = 0

    @contextmanager
    def place(self, access: Access, *, poll: bool = False) -> Iterator[None]:
        """Hold one for whoever opened something; raises Overloaded or TooManyStreams."""
        settings = get_settings()
        if len(self._engine.streams) + self._polls >= settings.max_streams:
            raise Overloaded
        who = access.user, access.anonymous_id
        known = any(who)  # a visitor without an id yet cannot be told from others
        if known and self._taken[who] >= settings.max_streams_per_user:
            raise TooManyStreams
        self._taken[who] += known
        self._polls += poll
        try:
            yield
        finally:
            self._polls -= poll
            self._taken[who] -= known
            if not self._taken[who]:
                del self._taken[who]
