"""How far an answer may grow: the site's limits, and what its generation has reserved."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Final

from django.db import DatabaseError

from ..answer import Answer
from ..conf import get_settings
from ..database import run_db
from ..exceptions import DatabaseUnavailable, LeaseLost, LimitReached, NotFound
from ..providers.base import Usage
from .admission import Grant, Spent, extend
from .claims import Claim
from .figures import CHARS_PER_TOKEN, cost_of, tokens_of

logger = logging.getLogger("llmstream.generations")

#: The finish reason of an answer that has used what may be used.
BUDGET: Final = "budget"

#: A provider that does not keep to ``MAX_OUTPUT_TOKENS`` is cut where tokens of this length would have reached it.
_LONGEST_TOKEN: Final = 8


class Meter:
    """Turns limits into the length up to which an answer may grow: what a run compares with, a token at a time."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._granted = claim.granted
        self._wish = get_settings().reserve_tokens
        self._start = self._input = self._ceiling = 0

    async def begin(self, answer: Answer, chars: int) -> int:
        """Return the length for a model call that is sent so many characters; raises LimitReached or LeaseLost."""
        self._start, self._input = answer.length + answer.asked, tokens_of(chars)
        self._ceiling = get_settings().max_answer_chars
        if most := self._claim.model.max_output_tokens:
            self._ceiling = min(self._ceiling, answer.length + most * _LONGEST_TOKEN)
        granted, self._granted = self._granted, None if self._granted is None else 0
        return self._length(answer, await self._ask(answer) if granted == 0 else granted)

    async def more(self, answer: Answer) -> int:
        """Return the length for an answer that has outgrown the last one; raises LimitReached or LeaseLost."""
        if self._granted is None or answer.length > self._ceiling:
            return self._ceiling
        self._wish *= 2
        return self._length(answer, await self._ask(answer))

    def _length(self, answer: Answer, granted: int | None) -> int:
        if granted is None:
            return self._ceiling
        return min(self._ceiling, answer.length + granted * CHARS_PER_TOKEN)

    async def _ask(self, answer: Answer) -> int | None:
        claim = self._claim
        owner = claim.conversation, claim.generation, claim.fence, claim.model_key
        try:
            grant = await run_db(extend, *owner, self._spent(answer), claim.began, self._wish)
        except NotFound:
            raise LeaseLost from None
        except DatabaseError:
            # Nothing is stored either while the database is away; it is asked again after as much.
            told = "Generation %s could not reserve more; it goes on for now"
            logger.warning(told, claim.generation_id, extra=claim.about(DatabaseUnavailable.code))
            grant = Grant(self._wish)
        if grant.output == 0:
            raise LimitReached(BUDGET)
        if grant.output is None:
            self._granted = None  # there is no limit any more
        return grant.output

    def _spent(self, answer: Answer) -> Spent:
        """Return what the generation has used: its calls that are over, and what the one at hand comes to so far."""
        written = Usage(self._input, tokens_of(answer.length + answer.asked - self._start))
        cost = cost_of(written, self._claim.rates) or Decimal(0)
        tokens = written.input_tokens + written.output_tokens
        for call in answer.calls:
            tokens += call["input"] + call["output"]
            cost += Decimal(call["cost"] or 0)
        return Spent(tokens, cost)
