"""Schemathesis makes requests up from the document: none makes the site fail, or answer what the document does not say.

``LLMSTREAM_SCHEMATHESIS=200`` tries so many of each kind and operation; by default few, always the same.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from llmstream.engine import get_engine
from llmstream.openapi.document import openapi_document
from llmstream.openapi.operations import OPERATIONS
from tests.files import attaching
from tests.openapi.visitor import Visitor
from tests.support import close_engine

pytestmark = pytest.mark.django_db(transaction=True)

EXAMPLES = int(os.environ.get("LLMSTREAM_SCHEMATHESIS") or 3)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
#: Short texts take Hypothesis a fraction of the time.
SITE = {"ALLOW_ANONYMOUS": False, "LONG_POLL_MAX": 0, "MAX_PROMPT_CHARS": 100, "MAX_TITLE_CHARS": 40}
ACCEPTED = ("application/json", "text/event-stream", "*/*")


async def close() -> None:
    """End what the requests have begun."""
    await close_engine(get_engine())


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as told", "otherwise"])
def test_no_request_that_can_be_made_up_fails_or_is_answered_otherwise_than_told(mode: GenerationMode) -> None:
    answered: dict[str, set[int]] = {}
    with attaching(**SITE), asyncio.Runner() as runner:
        schema = schemathesis.openapi.from_dict(openapi_document())
        visitor = Visitor()
        try:
            for found in schema.get_all_operations():
                assert isinstance(found, Ok)
                operation = found.ok()

                @settings(
                    max_examples=EXAMPLES,
                    deadline=None,
                    database=None,
                    derandomize=True,
                    suppress_health_check=list(HealthCheck),
                    phases=[Phase.generate, Phase.shrink],
                )
                @given(
                    case=operation.as_strategy(generation_mode=mode),
                    accept=st.sampled_from(ACCEPTED),
                    genuine=st.sampled_from([True, True, False]),
                )
                def ask(case: schemathesis.Case[Any], accept: str, genuine: bool) -> None:
                    response = visitor.call(runner, case, accept, genuine=genuine)
                    answered.setdefault(case.operation.label, set()).add(response.status_code)
                    case.validate_response(response, checks=CHECKS)

                ask()
        finally:
            runner.run(close())
    assert len(answered) == len(OPERATIONS)
