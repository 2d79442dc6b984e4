"""The permission policy: who sees and does what, and what a site may change about it."""

from __future__ import annotations

import pytest
from django.db.models import QuerySet

from llmstream.exceptions import NotFound
from llmstream.lookup import find_conversation
from llmstream.models import Conversation
from llmstream.permissions import ConversationPolicy, Requester
from tests.support import conversation, site, user

pytestmark = pytest.mark.django_db


class HidingPolicy(ConversationPolicy):
    """A site's own rule: archived conversations are not there."""

    def visible(self, requester: Requester) -> QuerySet[Conversation]:
        """Leave out what is archived."""
        return super().visible(requester).exclude(title="archived")


def test_a_site_s_own_visibility_holds_everywhere() -> None:
    hidden, shown = conversation(owner=user(), title="archived"), conversation(owner=user())
    with site(POLICY="tests.test_permissions.HidingPolicy"):
        assert find_conversation(Requester(user()), shown.public_id) == shown
        with pytest.raises(NotFound):
            find_conversation(Requester(user()), hidden.public_id)
