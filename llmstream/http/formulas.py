"""The formulas of an answer over HTTP."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from ..lookup import find_message
from ..markup import arendered
from ..permissions import get_policy
from .endpoint import Endpoint, json_response


class Formulas(Endpoint):
    """``GET messages/<id>/formulas/``."""

    async def get(self, request: HttpRequest, message: str) -> HttpResponse:
        """List the formulas of an answer as MathML; none while it runs, or without the extra ``markdown``."""
        found = await self.work(_find, message)
        kept = (await arendered([found])).get(message)
        return json_response({"formulas": list(kept.formulas) if kept else []})


def _find(request: HttpRequest, public_id: str) -> dict[str, Any]:
    found = find_message(get_policy().identify(request), public_id)
    return {"id": found.public_id, "role": found.role, "status": found.status, "parts": found.parts}
