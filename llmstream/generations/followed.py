"""A run's hold on a response that its service goes on with, whether it is read or not."""

from __future__ import annotations

from ..log.sql import ResponseCursor
from ..log.writer import Lane
from ..models import LeftResponse
from ..providers.base import Cursor, Provider, ResumableProvider
from ..statements import insert
from .leftovers import cancel_ended

_ID_LENGTH = 200


class FollowedResponse:
    """Follows the response of the model call at work, so that another process can go on with it.

    ``response_id`` is the service's name of the newest response, whether it can be taken up again or not. Lengths are
    those of the answer, in characters.
    """

    def __init__(self, lane: Lane, response: ResponseCursor | None, length: int) -> None:
        self.response_id = response.response_id if response else ""
        self._lane = lane
        self._provider: ResumableProvider | None = None
        self._followed = response is not None
        #: How long the answer was at the newest cursor.
        self._length = length
        self._left = False

    def begin(self, provider: Provider) -> None:
        """Note that a provider's stream is about to be read."""
        self._provider = provider if isinstance(provider, ResumableProvider) else None

    def follow(self, at: Cursor, length: int) -> None:
        """Store how far it has been read, with the parts before."""
        if self._provider and 0 < len(self.response_id) <= _ID_LENGTH:
            self._followed, self._length = True, length
            self._lane.follow(self.response_id, str(at.sequence))

    def finish(self, length: int) -> None:
        """Note that the response is over. Who takes it up again hears its end, and nothing twice."""
        if length != self._length:
            self.forget()
        self._provider, self._followed = None, False

    def forget(self) -> None:
        """Store, with what is pending, that the response must not be taken up again."""
        if self._followed:
            self._lane.follow(self.response_id, "")
        self._provider, self._followed = None, False

    def leave(self) -> None:
        """Let the response go on when its stream is closed: if the generation goes on, somebody takes it up again."""
        if self._provider and self._followed:
            self._provider.detach(self.response_id)
            self._left = True

    async def cancel_ended(self, generation: int) -> None:
        """Cancel the response that was left, if its generation has ended."""
        if self._provider and self._left:
            await cancel_ended(self._provider, generation, self.response_id)

    def store_left(self, model: str) -> None:
        """Have the response of a model cancelled if it was not read to its end, in the transaction of that."""
        if self._provider and self._followed:
            insert(LeftResponse(model=model, response_id=self.response_id))
