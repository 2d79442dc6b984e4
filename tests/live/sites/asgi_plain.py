"""A site that has not added the wrapper: streams are Django's own ``StreamingHttpResponse``."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

application = get_asgi_application()
