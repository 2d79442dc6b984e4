"""Middleware as old sites have it."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


class SyncOnlyMiddleware:
    """Knows nothing of async, and touches the database through the session on the way out."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Mark the response."""
        response = self.get_response(request)
        response.headers["X-Sync-Middleware"] = str(len(list(request.session.keys())))
        return response
