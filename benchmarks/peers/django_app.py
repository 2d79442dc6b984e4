"""Django's StreamingHttpResponse, the middleware of ``startproject``; ``/save`` stores each token before it is sent.

``/chats/<id>/`` is what sites write by hand: signed in, the prompt stored before its answer, the answer when it is
whole. Run as a module it makes the tables, a user, and as many chats as the argument says, and prints what a request
needs to use them, as JSON. ``BENCH_DATABASE`` is a ``sqlite:`` path or a PostgreSQL URL.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import AsyncIterator

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.db import models
from django.http import Http404, HttpRequest, StreamingHttpResponse
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


class Chat(models.Model):
    """A user's conversation."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)

    class Meta:
        app_label = "bench"

    def __str__(self) -> str:
        return f"Chat {self.pk}"


class Turn(models.Model):
    """A message of a chat."""

    chat = models.ForeignKey(Chat, models.CASCADE)
    role = models.CharField(max_length=20)
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "bench"

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


async def chat_answer(chat: Chat) -> AsyncIterator[bytes]:
    """The paced answer to a chat's last turn as SSE, stored when it is whole."""
    yield OPENING
    turns = [turn async for turn in Turn._default_manager.filter(chat=chat).order_by("pk")]
    pieces: list[str] = []
    async for text in paced(Answer.from_query(turns[-1].text)):
        pieces.append(text)
        yield frame(text)
    await Turn._default_manager.acreate(chat=chat, role="assistant", text="".join(pieces))
    yield CLOSING


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream the answer that the query asks for."""
    answer = Answer.from_query(request.META["QUERY_STRING"])
    return StreamingHttpResponse(paced_answer(answer), content_type="text/event-stream")


async def save(request: HttpRequest) -> StreamingHttpResponse:
    """Stream it and store it."""
    answer = Answer.from_query(request.META["QUERY_STRING"])
    return StreamingHttpResponse(saved_answer(answer), content_type="text/event-stream")


async def chat(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """Store a prompt and stream its answer."""
    try:
        found = await Chat._default_manager.aget(pk=pk, owner=(await request.auser()).pk)
    except Chat.DoesNotExist:
        raise Http404 from None
    await Turn._default_manager.acreate(chat=found, role="user", text=json.loads(request.body)["content"])
    return StreamingHttpResponse(chat_answer(found), content_type="text/event-stream")


urlpatterns = [path("", stream), path("save", save), path("chats/<int:pk>/", chat)]
app = get_asgi_application()

if __name__ == "__main__":
    from django.db import connection

    from benchmarks.visitors import sign_in

    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        for model in (Token, Chat, Turn):
            editor.create_model(model)
    user, access = sign_in()
    made = Chat._default_manager.bulk_create(Chat(owner=user) for _ in range(int(sys.argv[1])))
    print(json.dumps({**access, "conversations": [str(each.pk) for each in made]}))
