"""The page that Prometheus reads, for sites that have none yet."""

from __future__ import annotations

import os

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector


@require_safe
@login_not_required
def metrics(request: HttpRequest) -> HttpResponse:
    """Return this process's figures, or with ``PROMETHEUS_MULTIPROC_DIR`` those of all processes of this host."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
