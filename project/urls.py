"""The demo site's addresses. ``llmstream/`` is all that a site needs for the HTTP surface."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from . import examples, views

urlpatterns = [
    path("", views.home, name="home"),
    path("chat/", views.chat, name="chat"),
    path("chat/<str:conversation>/", views.chat, name="chat-conversation"),
    path("rooms/", views.rooms, name="rooms"),
    path("rooms/<str:conversation>/", views.room, name="room"),
    path("examples/", views.examples, name="examples"),
    path("examples/bubble/", examples.BubbleExample.as_view(), name="example-bubble"),
    path("examples/bubble/<str:conversation>/", examples.BubbleExample.as_view(), name="example-bubble-conversation"),
    path("examples/htmx/", examples.HtmxExample.as_view(), name="example-htmx"),
    path("examples/htmx/<str:conversation>/", examples.HtmxExample.as_view(), name="example-htmx-conversation"),
    path(
        "examples/htmx/<str:conversation>/transcript/",
        examples.HtmxTranscript.as_view(),
        name="example-htmx-transcript",
    ),
    path("examples/server/", examples.ServerExample.as_view(), name="example-server"),
    path("widget/", views.WidgetView.as_view(), name="widgets"),
    path("widget/<str:conversation>/", views.WidgetView.as_view(http_method_names=["get"]), name="widget"),
    path("accounts/login/", views.SignInView.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("accounts/demo/", views.DemoSignInView.as_view(), name="demo-sign-in"),
    path("operations/", views.operations, name="operations"),
    path("llmstream/", include("llmstream.urls")),
    path("notifications/", include("llmstream.contrib.eventstream.urls")),
    path("admin/", admin.site.urls),
    # Browsers ask for it on pages that name no icon, such as the admin's.
    path("favicon.ico", RedirectView.as_view(url=static("demo/favicon.svg"))),
]
