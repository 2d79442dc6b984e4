"""Addresses of a site that tells what the process that answers holds: tasks by what they do, objects by their class."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

from django.http import HttpRequest, JsonResponse
from django.urls import path

from llmstream.engine import get_engine
from tests.urls import urlpatterns as everything

#: What a process remembers of conversations that nobody follows, up to a fixed number of them.
_REMEMBERED = {"Row", "Batch"}


async def counts(request: HttpRequest) -> JsonResponse:
    """Count, once what is garbage is gone."""
    engine = get_engine()
    gc.collect()
    kinds = Counter(map(type, gc.get_objects()))
    objects = {kind.__name__: count for kind, count in kinds.items() if str(kind.__module__).startswith("llmstream.")}
    tasks = Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())
    return JsonResponse(
        {
            "streams": len(engine.streams),
            "topics": len(engine.hub.topics),
            "readers": sum(topic.readers for topic in engine.hub.topics.values()),
            "runs": len(engine.runs),
            **{f"task {name}": count for name, count in tasks.items()},
            **{f"object {name}": count for name, count in objects.items() if name not in _REMEMBERED},
        }
    )


urlpatterns = [*everything, path("counts/", counts)]
