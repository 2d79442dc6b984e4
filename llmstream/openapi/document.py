"""The whole document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import getdoc
from typing import Any, Final

from django.conf import settings as django_settings
from django.urls import NoReverseMatch, URLPattern, get_script_prefix, reverse

from .. import __version__
from ..conf import get_settings
from ..events import EVENT_ID_MAX_LENGTH
from ..exceptions import LLMStreamError, MalformedJSON, MethodNotAllowed, NotFound, message_of
from ..urls import urlpatterns
from .operations import ALWAYS, CHANGING, KEY, OPERATIONS, POSITION, Operation
from .schemas import PUBLIC_ID, STRING, Schema, ref, schemas

_JSON: Final = "application/json"
_STREAM: Final = "text/event-stream"
#: Of each event: before version 3.2 OpenAPI has no words for a stream of them.
_EVENTS: Final = ref("StreamedEvent")
#: What is sent as a form, and how.
_FORMS: Final = {"Upload": "multipart/form-data", "PageForm": "application/x-www-form-urlencoded"}
_SAFE: Final = "get"
_SHORT: Final = 64


class NotMounted(Exception):
    """``llmstream.urls`` is not included in the site's addresses."""


def openapi_document(base: str = "") -> dict[str, Any]:
    """Return the document of this site; ``base`` goes before the path of the mount. Raises NotMounted."""
    try:
        mount = reverse("llmstream:conversations").removesuffix("conversations/")
    except NoReverseMatch:
        raise NotMounted("Include llmstream.urls in the site's addresses.") from None
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "llmstream",
            "version": __version__,
            "description": "Conversations with language models whose answers stream, last, and can be resumed.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base.rstrip("/") + mount.rstrip("/") or get_script_prefix()}],
        "paths": {f"/{_template(route)}": _methods(route) for route in urlpatterns},
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": django_settings.SESSION_COOKIE_NAME},
                "csrf": {"type": "apiKey", "in": "header", "name": _csrf_header()},
            },
            "responses": {"MethodNotAllowed": _failure([MethodNotAllowed])},
        },
        "security": [{"session": []}],
    }


def methods_of(route: URLPattern) -> Iterator[tuple[str, Any]]:
    """Yield the methods that a route's view serves, in lower case, with their handlers."""
    view: Any = route.callback
    for method in view.view_class().allowed:
        yield method.lower(), getattr(view.view_class, method.lower())


def _csrf_header() -> str:
    return "-".join(part.capitalize() for part in django_settings.CSRF_HEADER_NAME.removeprefix("HTTP_").split("_"))


def _template(route: URLPattern) -> str:
    return str(route.pattern).replace("<str:", "{").replace(">", "}")


def _methods(route: URLPattern) -> dict[str, Any]:
    name = route.name or ""
    path = [_path_parameter(parameter) for parameter in route.pattern.converters]
    found: dict[str, Any] = {"parameters": path} if path else {}
    for method, handler in methods_of(route):
        operation = OPERATIONS[name, method.upper()]
        found[method] = {
            "operationId": f"{method}_{name.replace('-', '_')}",
            "summary": (getdoc(handler) or "").splitlines()[0].rstrip("."),
            "parameters": [*map(_query_parameter, operation.query), *map(_header_parameter, operation.headers)],
            **_body(operation),
            "responses": _responses(operation, changing=method != _SAFE, named=bool(path)),
            **({} if method == _SAFE else {"security": [{"session": [], "csrf": []}]}),
        }
    return found


def _path_parameter(name: str) -> Schema:
    schema = STRING if name in ("user", "call") else PUBLIC_ID
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameter(name: str) -> Schema:
    position = {"type": "string", "maxLength": EVENT_ID_MAX_LENGTH}
    told: dict[str, tuple[Schema, str]] = {
        "before": (PUBLIC_ID, "The last conversation of the page before."),
        "last_event_id": (position, "The last event that the client has; the header Last-Event-ID wins."),
        "after": (position, "The same, for a long poll."),
        "wait": (
            {"type": "number", "minimum": 0, "maximum": get_settings().long_poll_max},
            "Seconds that a long poll waits for the first event.",
        ),
        "ready": ({"type": "string", "enum": ["1"]}, "Begin a stream with the event ready."),
    }
    schema, description = told[name]
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _header_parameter(name: str) -> Schema:
    told = {KEY: "Like client_id in the body, which wins.", POSITION: "The last event that the client has."}
    # What a header can carry without being encoded.
    schema = {"type": "string", "pattern": rf"^[A-Za-z0-9._-]{{0,{_SHORT}}}$"}
    return {"name": name, "in": "header", "schema": schema, "description": told[name]}


def _body(operation: Operation) -> dict[str, Any]:
    if not operation.body:
        return {}
    kind = _FORMS.get(operation.body, _JSON)
    needed = not schemas()[operation.body].keys().isdisjoint({"required", "anyOf"})
    return {"requestBody": {"required": needed, "content": {kind: {"schema": ref(operation.body)}}}}


def _responses(operation: Operation, *, changing: bool, named: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, schema in operation.answers.items():
        found[str(status)] = _success(operation, status, schema)
    if operation.streams and "200" not in found:
        found["200"] = {"description": "The answer, streamed.", "content": {_STREAM: {"schema": _EVENTS}}}
    errors: list[type[LLMStreamError]] = [*ALWAYS, *operation.fails]
    errors += CHANGING if changing else ()
    errors += [NotFound] if named else []
    errors += [MalformedJSON] if operation.body and operation.body not in _FORMS else []
    for status in sorted({error.status for error in errors}):
        found[str(status)] = _failure([error for error in errors if error.status == status])
    return found


def _success(operation: Operation, status: int, schema: str | None) -> Schema:
    content: dict[str, Any] = {_JSON: {"schema": ref(schema)}} if schema else {}
    if operation.file and status == 200:
        content = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    if operation.page and status == 200:
        content = {"text/html": {"schema": STRING}}
    if operation.streams and status == 200:
        content[_STREAM] = {"schema": _EVENTS}
    description = {200: "Done.", 201: "Created.", 204: "Nothing more.", 303: "See the page.", 304: "Not changed."}[
        status
    ]
    return {"description": description, **({"content": content} if content else {})}


def _failure(errors: Iterable[type[LLMStreamError]]) -> Schema:
    codes = sorted({error.code for error in errors})
    told = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
    description = " ".join(f"`{code}`: {message_of(code)}" for code in codes)
    return {"description": description, "content": {_JSON: {"schema": {"allOf": [ref("Error"), told]}}}}
