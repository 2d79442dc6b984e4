"""Every endpoint: which bodies it takes, and that no request makes it fail."""

from __future__ import annotations

import orjson
import pytest

from llmstream.database import run_db
from llmstream.engine import Engine
from tests.http.client import ROOT, TOKEN, browser

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'),
        ("multipart/form-data", b"no boundary"),
        ("application/x-www-form-urlencoded", b"a=b"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 2_000)),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 3_000_000),
        ("text/plain", b"{}"),
    ],
    ids=["multipart", "multipart without a boundary", "form", "form of many fields", "large form", "text"],
)
async def test_other_content_types_are_refused(running: Engine, content_type: str, body: bytes) -> None:
    client = await run_db(browser, "ann")
    headers = {"X-CSRFToken": TOKEN}
    response = await client.post(f"{ROOT}conversations/", body, content_type=content_type, headers=headers)
    code = orjson.loads(response.content)["error"]["code"]
    assert (response.status_code, code) in [(415, "unsupported_media_type"), (413, "too_large")]


@pytest.mark.parametrize("length", ["abc", "-1", "1e3", "\xb2"])
async def test_a_content_length_that_is_no_number_is_a_client_s_error(running: Engine, length: str) -> None:
    client = await run_db(browser, "ann")
    headers = {"X-CSRFToken": TOKEN, "Content-Length": length}
    response = await client.post(f"{ROOT}conversations/", b"{}", content_type="application/json", headers=headers)
    assert response.status_code < 500
