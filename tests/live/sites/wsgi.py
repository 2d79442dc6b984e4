"""A site that is served by WSGI."""

from __future__ import annotations

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
