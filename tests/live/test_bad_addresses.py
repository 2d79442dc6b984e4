"""Requests for what is not there, not theirs, or not theirs to change."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from .api import Api, Sent, error_code, prompt
from .clients import http_client
from .sites.provider import script

ROUTES: list[tuple[str, str]] = [
    ("GET", "conversations/{conversation}/"),
    ("PATCH", "conversations/{conversation}/"),
    ("DELETE", "conversations/{conversation}/"),
    ("POST", "conversations/{conversation}/messages/"),
    ("GET", "conversations/{conversation}/page/"),
    ("POST", "conversations/{conversation}/page/"),
    ("GET", "conversations/{conversation}/events/"),
    ("GET", "conversations/{conversation}/feedback/"),
    ("GET", "messages/{message}/formulas/"),
    ("POST", "messages/{message}/feedback/"),
    ("DELETE", "messages/{message}/feedback/"),
    ("GET", "generations/{generation}/events/"),
    ("POST", "generations/{generation}/stop/"),
    ("POST", "generations/{generation}/retry/"),
    ("POST", "generations/{generation}/steer/"),
    ("POST", "generations/{generation}/tool-calls/{call}/"),
    ("GET", "conversations/{conversation}/members/"),
    ("POST", "conversations/{conversation}/members/"),
    ("PATCH", "conversations/{conversation}/members/{user}/"),
    ("DELETE", "conversations/{conversation}/members/{user}/"),
    ("POST", "conversations/{conversation}/attachments/"),
    ("GET", "attachments/{attachment}/"),
    ("DELETE", "attachments/{attachment}/"),
    ("GET", "conversations/?before={conversation}"),
]


def named(sent: Sent) -> dict[str, str]:
    """What the routes name."""
    ids = {"conversation": sent.conversation, "generation": sent.generation, "message": sent.message}
    return {**ids, "call": "x", "user": "1", "attachment": "Z" * 22}


def body(method: str, route: str) -> dict[str, Any]:
    """What a request to the route carries."""
    if route.endswith("/attachments/"):
        return {"files": {"file": ("a.txt", b"x", "text/plain")}}
    if route.endswith("/page/") and method == "POST":
        return {"data": {"content": "x"}}
    return {} if method == "GET" else {"json": prompt("x", title="x")}


def bare(response: httpx.Response) -> tuple[int, bytes, set[str]]:
    """What an outsider can tell a response by."""
    return response.status_code, response.content, set(response.headers)


async def test_foreign_ids_look_like_unknown_ones_on_every_route(carol: Api, dave: Api) -> None:
    sent = await carol.send(script(2, 0))
    await carol.settled(sent.conversation)
    real = named(sent)
    made_up = {**real, **dict.fromkeys(("conversation", "generation", "message"), "Z" * 22)}
    for method, route in ROUTES:
        for accept in ("application/json", "text/event-stream"):
            options = body(method, route)
            headers = {"Accept": accept, "Last-Event-ID": sent.last_event_id}
            foreign = await dave.request(method, route.format(**real), headers=headers, **options)
            unknown = await dave.request(method, route.format(**made_up), headers=headers, **options)
            assert error_code(foreign, 404) == "not_found", route
            assert bare(foreign) == bare(unknown), route
    state = await carol.state(sent.conversation)
    assert len(state["messages"]) == 2
    assert state["title"] == ""
    assert (await dave.json("GET", "conversations/"))["conversations"] == []


def test_no_route_is_left_out() -> None:
    from llmstream.urls import urlpatterns  # noqa: PLC0415  needs Django's settings

    named = {str(pattern.pattern).replace("<str:", "{").replace(">", "}") for pattern in urlpatterns}
    assert named - {"conversations/"} == {route for _, route in ROUTES if "?" not in route}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_rubbish_ids_in_addresses(carol: Api, method: str) -> None:
    rubbish = [
        "x",
        "A" * 21,
        "A" * 23,
        "A" * 5_000,
        "%00",
        "%0a",
        "..",
        "%2e%2e%2f",
        "'%20OR%201=1--",
        "%F0%9F%99%82",
        "%ff",
    ]
    for name in rubbish:
        for route in (
            "conversations/{}/",
            "conversations/{}/messages/",
            "generations/{}/events/",
            "generations/{}/stop/",
        ):
            options = {"json": prompt("x")} if method == "POST" else {}
            response = await carol.request(method, route.format(name), **options)
            assert response.status_code in {404, 405}, (route, name, response.text[:300])


async def test_other_methods(carol: Api) -> None:
    conversation = await carol.conversation()
    for method, path, allowed in [
        ("PUT", "conversations/", "GET, POST"),
        ("DELETE", "conversations/", "GET, POST"),
        ("PUT", f"conversations/{conversation}/", "GET, PATCH, DELETE"),
        ("GET", f"conversations/{conversation}/messages/", "POST"),
        ("POST", f"conversations/{conversation}/events/", "GET"),
    ]:
        response = await carol.request(method, path)
        assert error_code(response, 405) == "method_not_allowed"
        assert response.headers["allow"] == allowed


@pytest.mark.parametrize("fault", ["no token", "wrong token", "no cookie", "foreign origin"])
async def test_commands_need_the_csrf_token(carol: Api, fault: str) -> None:
    sent = await carol.send(script(2, 0))
    await carol.settled(sent.conversation)
    before = await carol.state(sent.conversation)
    real = named(sent)
    for method, route in [("POST", "conversations/"), *ROUTES]:
        if method == "GET":
            continue
        headers, cookies = {"X-CSRFToken": carol.account.csrftoken}, dict(carol.account.cookies)
        match fault:
            case "no token":
                headers = {"X-CSRFToken": ""}
            case "wrong token":
                headers = {"X-CSRFToken": "f" * 32}
            case "no cookie":
                del cookies["csrftoken"]
            case "foreign origin":
                headers["Origin"] = "https://evil.example"
        options = body(method, route)
        response = await carol.request(method, route.format(**real), headers=headers, cookies=cookies, **options)
        assert error_code(response, 403) == "csrf_failed", route
    assert await carol.state(sent.conversation) == before


async def test_an_unknown_host_or_address_does_not_break_the_server(carol: Api) -> None:
    async with http_client() as client:
        assert (await client.get(carol.base + "/llmstream/nothing/")).status_code == 404
        assert (await client.get(carol.base + "/llmstream/conversations")).status_code in {301, 404}
    assert await carol.conversation()
