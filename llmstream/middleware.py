"""Cheaper requests under ASGI: the whole middleware stack in one thread, entered once.

Django calls middleware that is not written for async in a thread, one switch for the request and one for the response.
That is most of what a site has: ten switches and more for each request. One that knows nothing but sync at the end of
``MIDDLEWARE`` makes Django run all those before it one after the other, in one thread.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_only_middleware

GetResponse = Callable[[HttpRequest], HttpResponseBase]


@sync_only_middleware
def one_thread(get_response: GetResponse) -> GetResponse:
    """Have Django run the middleware in one thread; ``"llmstream.middleware.one_thread"``, the last in ``MIDDLEWARE``.

    Async views run on the event loop as before, and everything works as without it. Under WSGI it does nothing.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        return get_response(request)

    return middleware
