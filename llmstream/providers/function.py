"""An async generator function as a provider: a site's own model, or an agent of any framework."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

from .base import Provider, ProviderPart, ProviderRequest


class FunctionProvider(Provider):
    """Calls ``function`` with the request and the model entry's options; see ``Provider.stream`` for what it yields."""

    def __init__(self, function: Callable[..., AsyncGenerator[ProviderPart, None]], **options: Any) -> None:
        self._function = partial(function, **options)

    def stream(self, request: ProviderRequest) -> AsyncGenerator[ProviderPart, None]:
        """Yield what the function yields."""
        return self._function(request)
