"""Bodies that cannot be used: a clear answer, and nothing kept."""

from __future__ import annotations

from typing import Any

from .api import Api, error_code, prompt
from .events import text_of

SIZE_LIMIT = 262_144
PROMPT_LIMIT = 100_000

BODIES: dict[str, tuple[Any, int, str]] = {
    "not json": (b"{", 400, "malformed_json"),
    "array": (b"[]", 400, "malformed_json"),
    "string": (b'"x"', 400, "malformed_json"),
    "null": (b"null", 400, "malformed_json"),
    "deep": (b"[" * 100_000, 400, "malformed_json"),
    "not utf-8": (b'{"content": "\xff"}', 400, "malformed_json"),
    "lone surrogate": (b'{"content": "\\ud800"}', 400, "malformed_json"),
    "nan": (b'{"content": NaN}', 400, "malformed_json"),
    "empty": (b"", 400, "invalid_request"),
    "no content": (b"{}", 400, "invalid_request"),
    "null content": (prompt(None), 400, "invalid_request"),
    "blank content": (prompt(" \n\t "), 400, "invalid_request"),
    "number": (prompt(5), 400, "invalid_request"),
    "list": (prompt(["a"]), 400, "invalid_request"),
    "nul": (prompt("a\0b"), 400, "invalid_request"),
    "unknown model": (prompt("x", model="gpt-none"), 400, "unknown_model"),
    "model of the wrong type": (prompt("x", model=7), 400, "invalid_request"),
    "unknown policy": (prompt("x", busy="fight"), 400, "invalid_request"),
    "unknown parent": (prompt("x", parent="A" * 22), 400, "invalid_request"),
    "client id of the wrong type": (prompt("x", client_id={}), 400, "invalid_request"),
    "long client id": (prompt("x", client_id="c" * 500), 413, "too_large"),
    "long prompt": (prompt("x" * (PROMPT_LIMIT + 1)), 413, "too_large"),
    "long body": (prompt("x" * SIZE_LIMIT), 413, "too_large"),
    "very long body": (prompt("x" * 4_000_000), 413, "too_large"),
}


async def test_bodies_that_cannot_be_used(carol: Api) -> None:
    conversation = await carol.conversation()
    path = f"conversations/{conversation}/messages/"
    before = await carol.state(conversation)
    for accept in ("application/json", "text/event-stream"):
        for name, (body, status, code) in BODIES.items():
            sent = {"content": body} if isinstance(body, bytes) else {"json": body}
            headers = {"Content-Type": "application/json", "Accept": accept}
            response = await carol.request("POST", path, headers=headers, **sent)
            assert error_code(response, status) == code, name
    assert await carol.state(conversation) == before, "nothing was kept"


async def test_bodies_of_other_types(carol: Api) -> None:
    path = f"conversations/{await carol.conversation()}/messages/"
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
    ):
        response = await carol.request("POST", path, headers={"Content-Type": kind}, content=b'{"content": "x"}')
        assert error_code(response, 415) == "unsupported_media_type", kind
    response = await carol.request(
        "POST", path, headers={"Content-Type": "Application/JSON; charset=utf-8"}, content=b'{"content": "x"}'
    )
    assert response.status_code == 201


async def test_a_body_of_unknown_length_is_limited_too(carol: Api) -> None:
    path = f"conversations/{await carol.conversation()}/messages/"

    async def pieces() -> Any:
        for _ in range(100):
            yield b"x" * 10_000

    response = await carol.request("POST", path, headers={"Content-Type": "application/json"}, content=pieces())
    assert error_code(response, 413) == "too_large"


async def test_prompts_at_the_limits_are_taken(carol: Api) -> None:
    for content in ("x" * PROMPT_LIMIT, "\ufeff", "日本🙂\u2028\x7f", "\\" * 1_000, "</script>\x1b[31m"):
        sent = await carol.send(content, client_id="i" * 64)
        state = await carol.settled(sent.conversation)
        assert text_of(state["messages"][0]) == content
        assert state["messages"][1]["status"] == "completed"


async def test_the_longest_client_id_that_is_taken_can_be_stored(carol: Api) -> None:
    conversation = await carol.conversation()
    path = f"conversations/{conversation}/messages/"
    for size in (64, 65, 128, 129):
        response = await carol.request("POST", path, json=prompt("x", client_id="k" * size, busy="queue"))
        assert response.status_code == 201 or error_code(response, 413) == "too_large", size
        response = await carol.request(
            "POST", path, json=prompt("x", busy="queue"), headers={"Idempotency-Key": "h" * size}
        )
        assert response.status_code == 201 or error_code(response, response.status_code) in {
            "too_large",
            "invalid_request",
        }
        assert response.status_code < 500, size


async def test_titles_and_models_of_conversations(carol: Api) -> None:
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"title": "t" * 201}, 413, "too_large"),
        ({"title": 5}, 400, "invalid_request"),
        ({"title": "a\0b"}, 400, "invalid_request"),
        ({"model": "none"}, 400, "unknown_model"),
        ({"model": "m" * 200}, 413, "too_large"),
    ]
    conversation = await carol.conversation(title="t" * 200, model="paced", unknown="is ignored")
    for body, status, code in cases:
        assert error_code(await carol.request("POST", "conversations/", json=body), status) == code
        response = await carol.request("PATCH", f"conversations/{conversation}/", json=body)
        assert error_code(response, status) == code
    assert (await carol.state(conversation))["title"] == "t" * 200
