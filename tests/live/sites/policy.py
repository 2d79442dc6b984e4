"""A policy that shows in the log that it was asked."""

from __future__ import annotations

import sys

from django.http import HttpRequest

from llmstream.permissions import ConversationPolicy, Requester


class NoisyPolicy(ConversationPolicy):
    """Says so when somebody is identified."""

    def identify(self, request: HttpRequest) -> Requester:
        """Identify as usual."""
        print("identified", file=sys.stderr, flush=True)
        return super().identify(request)
