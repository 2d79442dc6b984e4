"""The pytest plugin: options for checks of a deployment, and the fixtures once Django is set up."""

from __future__ import annotations

import pytest
from django.apps import apps

#: Needs Django's settings, so it is loaded late, and only where llmstream is installed as an app.
_FIXTURES = "llmstream.testing.fixtures"

pytest.register_assert_rewrite("llmstream.testing.providers", "llmstream.testing.deployment")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where a deployment is, and who asks it."""
    group = parser.getgroup("llmstream", "checks of a deployment (llmstream.testing.conformance)")
    group.addoption("--llmstream-url", default="", help="where clients find llmstream: https://example.com/llmstream/")
    group.addoption("--llmstream-cookie", default="", help="Cookie header of a user: sessionid=...")
    group.addoption("--llmstream-other-cookie", default="", help="Cookie header of another user, not of the staff")
    group.addoption("--llmstream-socket", default=None, help="where the WebSocket is, if not at /ws/llmstream/")
    group.addoption("--llmstream-model", default="", help="the model that is asked; the site's default otherwise")
    group.addoption(
        "--llmstream-prompt", default="Count from one to thirty, in words.", help="what a model answers in a few lines"
    )
    group.addoption(
        "--llmstream-long-prompt",
        default="Count from one to three hundred, in words.",
        help="what a model takes many seconds to answer",
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Add the fixtures."""
    if apps.ready and apps.is_installed("llmstream"):
        session.config.pluginmanager.import_plugin(_FIXTURES)
