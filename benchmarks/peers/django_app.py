"""Django's StreamingHttpResponse, the middleware of ``startproject``; ``/save`` stores each token before it is sent.

Run as a module it makes the tables. ``BENCH_DATABASE`` is a ``sqlite:`` path or a PostgreSQL URL.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.db import models
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path

from benchmarks.databases import django_databases
from benchmarks.source import CLOSING, OPENING, Answer, frame, paced

if not settings.configured:
    settings.configure(
        SECRET_KEY="benchmarks",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        DATABASES=django_databases(),
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
        ],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
    )
    django.setup()


class Token(models.Model):
    """A stored token."""

    stream = models.UUIDField()
    seq = models.PositiveIntegerField()
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "bench"
        constraints = (models.UniqueConstraint(fields=("stream", "seq"), name="bench_token_unique"),)

    def __str__(self) -> str:
        return self.text


async def paced_answer(answer: Answer) -> AsyncIterator[bytes]:
    """The paced answer as SSE."""
    yield OPENING
    async for text in paced(answer):
        yield frame(text)
    yield CLOSING


async def saved_answer(answer: Answer) -> AsyncIterator[bytes]:
    """The paced answer as SSE, each token stored first."""
    yield OPENING
    stream, seq = uuid.uuid4(), 0
    async for text in paced(answer):
        seq += 1
        await Token._default_manager.acreate(stream=stream, seq=seq, text=text)
        yield frame(text)
    yield CLOSING


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream the answer that the query asks for."""
    answer = Answer.from_query(request.META["QUERY_STRING"])
    return StreamingHttpResponse(paced_answer(answer), content_type="text/event-stream")


async def save(request: HttpRequest) -> StreamingHttpResponse:
    """Stream it and store it."""
    answer = Answer.from_query(request.META["QUERY_STRING"])
    return StreamingHttpResponse(saved_answer(answer), content_type="text/event-stream")


urlpatterns = [path("", stream), path("save", save)]
app = get_asgi_application()

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    from django.db import connection

    with connection.schema_editor() as editor:
        editor.create_model(Token)
