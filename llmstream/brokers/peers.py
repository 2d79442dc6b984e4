"""Who else follows what: the engines that have told of themselves, each known by the name of its channel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable


class Peers:
    """The conversations that other engines follow, as far as they have told."""

    def __init__(self) -> None:
        self._followers: defaultdict[int, set[str]] = defaultdict(set)
        self._follows: dict[str, set[int]] = {}
        self._heard: dict[str, float] = {}

    def of(self, conversation: int) -> Iterable[str]:
        """Return those who follow a conversation."""
        return self._followers.get(conversation, ())

    def replace(self, peer: str, conversations: Iterable[int], now: float) -> None:
        """Note everything that a peer follows."""
        told = set(conversations)
        known = self._follows.get(peer, set())
        self.change(peer, told - known, known - told, now)

    def change(self, peer: str, followed: Iterable[int], unfollowed: Iterable[int], now: float) -> None:
        """Note what a peer has begun and ceased to follow."""
        self._heard[peer] = now
        known = self._follows.setdefault(peer, set())
        for conversation in followed:
            known.add(conversation)
            self._followers[conversation].add(peer)
        for conversation in unfollowed:
            known.discard(conversation)
            self._unfollow(conversation, peer)

    def forget(self, peer: str) -> None:
        """A peer is gone."""
        self._heard.pop(peer, None)
        for conversation in self._follows.pop(peer, ()):
            self._unfollow(conversation, peer)

    def expire(self, before: float) -> None:
        """Forget those who have told nothing since ``before``."""
        for peer in [peer for peer, heard in self._heard.items() if heard < before]:
            self.forget(peer)

    def _unfollow(self, conversation: int, peer: str) -> None:
        if followers := self._followers.get(conversation):
            followers.discard(peer)
            if not followers:
                del self._followers[conversation]
