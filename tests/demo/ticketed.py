"""The demo site for the tests, with tickets."""

from __future__ import annotations

from tests.demo.settings import *  # noqa: F403
from tests.demo.settings import LLMSTREAM

LLMSTREAM = {**LLMSTREAM, "TICKET_LIFETIME": 900}
