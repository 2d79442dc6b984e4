"""The recommended ASGI wiring of a site that uses llmstream."""

from __future__ import annotations

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

# Django must be set up before anything that imports models: consumers, llmstream, the auth middleware.
django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402

from llmstream.http.handoff import StreamHandoff  # noqa: E402
from llmstream.routing import websocket_urlpatterns  # noqa: E402
from llmstream.runners.worker import CHANNEL, GenerationWorker  # noqa: E402

# Views, middleware, sign-in and permissions run in Django as ever. StreamHandoff then takes over the streams that the
# llmstream views have opened, so that an open stream holds no thread and no database connection.
http: Any = StreamHandoff(django_application)

if settings.DEBUG:
    # runserver does this by itself; this line gives every other ASGI server the static files in development.
    http = ASGIStaticFilesHandler(http)

application = ProtocolTypeRouter(
    {
        "http": http,
        # Browsers open WebSockets across sites and send cookies along: check the origin first, then read the session.
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
        # What "manage.py runworker llmstream-generations" runs.
        "channel": ChannelNameRouter({CHANNEL: GenerationWorker.as_asgi()}),
    }
)
