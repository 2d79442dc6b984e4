"""Middleware as old sites have it."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


class SyncOnlyMiddleware:
    """Knows nothing of async, and reads the user from the database before every view, in the request's own thread."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Mark the response with the user's name."""
        name = request.user.get_username()
        response = self.get_response(request)
        response.headers["X-Sync-Middleware"] = name
        return response
