"""The site as an ASGI application, wired as the documentation recommends."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.site.settings")
django_application = get_asgi_application()

from llmstream.http.handoff import StreamHandoff  # noqa: E402

application = StreamHandoff(django_application)
