"""The test site for real ASGI servers."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from llmstream.http.handoff import StreamHandoff

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

application = StreamHandoff(get_asgi_application())
