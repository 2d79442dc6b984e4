"""The OpenAPI document: valid, whole, and served as told."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from django.urls import include, path
from openapi_spec_validator import OpenAPIV31SpecValidator

from llmstream import events
from llmstream.exceptions import LLMStreamError, ProviderError, ToolError, codes_of
from llmstream.openapi.document import openapi_document
from llmstream.openapi.operations import OPERATIONS
from llmstream.openapi.views import OpenAPIView
from llmstream.urls import urlpatterns as routes
from tests.http.test_routes import SERVED

urlpatterns = [
    path("chat/openapi.json", OpenAPIView.as_view()),
    path("chat/", include("llmstream.urls")),
]
#: Told over sockets only, or to nobody.
NOT_OVER_HTTP = {"rate_limited", "lease_lost", "limit_reached"}


def operations(document: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """Return the operations by path and method."""
    return {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    }


def told(node: Any) -> set[str]:
    """Return every value of every enumeration in a part of the document."""
    if isinstance(node, dict):
        return set(node.get("enum", ())).union(*(told(child) for key, child in node.items() if key != "enum"))
    return set().union(*map(told, node)) if isinstance(node, list) else set()


def test_the_document_is_valid() -> None:
    assert list(OpenAPIV31SpecValidator(openapi_document()).iter_errors()) == []


def test_every_route_and_every_method_is_in_it() -> None:
    document = operations(openapi_document())
    expected = set()
    for route in routes:
        template = "/" + str(route.pattern).replace("<str:", "{").replace(">", "}")
        expected |= {(template, method.lower()) for method in SERVED[route.name or ""]}
    assert set(document) == expected
    assert set(OPERATIONS) == {(name, method) for name, methods in SERVED.items() for method in methods}
    assert all(operation["summary"] for operation in document.values())


def test_every_error_code_is_in_it() -> None:
    document = openapi_document()
    assert codes_of(LLMStreamError) - NOT_OVER_HTTP - told(document) == set()
    failed = set(document["components"]["schemas"]["Failure"]["properties"]["code"]["enum"])
    assert failed == {"error", *codes_of(ProviderError), *codes_of(ToolError)}


def test_every_error_is_told_under_its_status() -> None:
    statuses = {error.code: str(error.status) for error in _every(LLMStreamError)}
    for name, operation in operations(openapi_document()).items():
        for status, response in operation["responses"].items():
            for code in told(response):
                assert statuses[code] == status, (name, code)


def _every(error: type[LLMStreamError]) -> list[type[LLMStreamError]]:
    return [error, *(found for child in error.__subclasses__() for found in _every(child))]


def test_every_event_type_is_in_it() -> None:
    types = told(openapi_document()["components"]["schemas"]["Event"])
    assert types == {*events.STORED, "snapshot", "reset", "ready", "heartbeat", "rotate", "error"}


def test_changes_need_the_csrf_token_and_reading_does_not() -> None:
    for (_, method), operation in operations(openapi_document()).items():
        security = operation.get("security", [{"session": []}])
        assert security == ([{"session": []}] if method == "get" else [{"session": [], "csrf": []}])


def test_the_limits_are_the_site_s() -> None:
    with override_settings(LLMSTREAM={"MAX_PROMPT_CHARS": 7, "LONG_POLL_MAX": 3}):
        document = openapi_document()
    assert document["components"]["schemas"]["Prompt"]["properties"]["content"]["maxLength"] == 7
    reading = document["paths"]["/conversations/{conversation}/events/"]["get"]["parameters"]
    assert [each["schema"]["maximum"] for each in reading if each["name"] == "wait"] == [3]


def test_a_site_serves_it_where_it_likes() -> None:
    with override_settings(ROOT_URLCONF="tests.openapi.test_document"):
        response = Client().get("/chat/openapi.json")
        assert (response.status_code, response["Content-Type"]) == (200, "application/json")
        assert response.json()["servers"] == [{"url": "http://testserver/chat"}]
        assert Client().post("/chat/openapi.json").status_code == 405


def test_the_command_prints_it() -> None:
    out = StringIO()
    call_command("llmstream_openapi", "--url", "https://example.com/", stdout=out)
    assert json.loads(out.getvalue())["servers"] == [{"url": "https://example.com/llmstream"}]
    with override_settings(ROOT_URLCONF="tests.openapi.nothing"), pytest.raises(CommandError, match=r"llmstream\.urls"):
        call_command("llmstream_openapi", stdout=out)
