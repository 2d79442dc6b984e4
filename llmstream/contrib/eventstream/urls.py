"""The address of the notifications, for ``include("llmstream.contrib.eventstream.urls")``."""

from __future__ import annotations

from django.urls import path

from .channels import OPERATIONS, conversation_channel
from .views import notifications

_OF_ONE = [conversation_channel("{conversation}")]

app_name = "llmstream_eventstream"

urlpatterns = [
    # One connection for all conversations of the user who asks; ``?channel=`` names others.
    path("", notifications, name="mine"),
    path("conversations/<str:conversation>/", notifications, {"format-channels": _OF_ONE}, name="conversation"),
    path("operations/", notifications, {"channel": OPERATIONS}, name="operations"),
]
