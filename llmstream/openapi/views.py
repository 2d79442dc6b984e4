"""The document over HTTP, for sites that put it into their addresses."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View

from .document import openapi_document


@method_decorator(login_not_required, name="dispatch")
class OpenAPIView(View):
    """Answers ``GET`` with the document as JSON. Everybody may read it; it holds nothing of any user's.

    path("llmstream/openapi.json", OpenAPIView.as_view())
    """

    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the document, with the addresses that this request came to."""
        base = f"{request.scheme}://{request.get_host()}"
        return JsonResponse(openapi_document(base), headers={"Cache-Control": "no-cache"})
