"""The HTTP surface; mount it with ``path("llmstream/", include("llmstream.urls"))``."""

from __future__ import annotations

from django.urls import path

from .http.attachments import AttachmentDetail, AttachmentList
from .http.conversations import ConversationDetail, ConversationList
from .http.events import ConversationEvents, GenerationEvents
from .http.feedback import FeedbackDetail, FeedbackList
from .http.formulas import Formulas
from .http.generations import Retry, Steer, Stop, ToolCall
from .http.members import MemberDetail, MemberList
from .http.messages import Messages
from .http.pages import ConversationPage

app_name = "llmstream"

urlpatterns = [
    path("conversations/", ConversationList.as_view(), name="conversations"),
    path("conversations/<str:conversation>/", ConversationDetail.as_view(), name="conversation"),
    path("conversations/<str:conversation>/messages/", Messages.as_view(), name="messages"),
    path("conversations/<str:conversation>/page/", ConversationPage.as_view(), name="page"),
    path("messages/<str:message>/formulas/", Formulas.as_view(), name="formulas"),
    path("conversations/<str:conversation>/attachments/", AttachmentList.as_view(), name="attachments"),
    path("attachments/<str:attachment>/", AttachmentDetail.as_view(), name="attachment"),
    path("conversations/<str:conversation>/members/", MemberList.as_view(), name="members"),
    path("conversations/<str:conversation>/members/<str:user>/", MemberDetail.as_view(), name="member"),
    path("conversations/<str:conversation>/events/", ConversationEvents.as_view(), name="conversation-events"),
    path("conversations/<str:conversation>/feedback/", FeedbackList.as_view(), name="feedback"),
    path("messages/<str:message>/feedback/", FeedbackDetail.as_view(), name="message-feedback"),
    path("generations/<str:generation>/events/", GenerationEvents.as_view(), name="generation-events"),
    path("generations/<str:generation>/stop/", Stop.as_view(), name="generation-stop"),
    path("generations/<str:generation>/steer/", Steer.as_view(), name="generation-steer"),
    path("generations/<str:generation>/retry/", Retry.as_view(), name="generation-retry"),
    path("generations/<str:generation>/tool-calls/<str:call>/", ToolCall.as_view(), name="tool-call"),
]
