"""What the fixtures of the plugin promise beyond the examples."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from llmstream.exceptions import TooManyPrompts
from llmstream.models import Conversation
from llmstream.providers.script import Stall
from llmstream.testing.playing import PlayedSite


@pytest.fixture
def ann(llmstream_site: PlayedSite) -> User:
    """A user of the site."""
    return User.objects.create_user("ann")


def test_every_model_of_the_site_is_played(llmstream_site: PlayedSite) -> None:
    given = settings.LLMSTREAM["MODELS"]
    llmstream_site.says("x")
    played = settings.LLMSTREAM["MODELS"]
    assert played.keys() == given.keys()
    assert played["default"]["LABEL"] == given["default"]["LABEL"]
    assert {entry["PROVIDER"].rpartition(".")[2] for entry in played.values()} == {"ScriptedProvider"}


def test_an_answer_has_its_events(llmstream_site: PlayedSite, ann: User) -> None:
    llmstream_site.says("One ", "two")
    answer = llmstream_site.ask("Count", ann)
    assert [event["type"] for event in answer.events][:: len(answer.events) - 1] == ["message-created", "message-end"]
    assert answer.events[-1]["status"] == answer.status == "completed"


def test_a_second_prompt_goes_into_the_same_conversation(llmstream_site: PlayedSite, ann: User) -> None:
    first = llmstream_site.ask("One", ann)
    llmstream_site.says("Two.")
    second = llmstream_site.ask("Two", conversation=first.generation.conversation)
    assert (second.conversation, second.text) == (first.conversation, "Two.")


def test_a_prompt_is_refused_as_a_request_would_be(llmstream_site: PlayedSite, ann: User) -> None:
    llmstream_site.changes(LIMITS={"USER": {"PROMPTS_PER_MINUTE": 0}})
    with pytest.raises(TooManyPrompts):
        llmstream_site.ask("Hello", ann)


def test_an_answer_that_does_not_end_is_told(llmstream_site: PlayedSite, ann: User) -> None:
    llmstream_site.says("Hello", Stall())
    with pytest.raises(TimeoutError):
        llmstream_site.answer(Conversation.objects.create(owner=ann), patience=0.0)


def test_what_a_test_has_changed_is_over_with_it(request: pytest.FixtureRequest) -> None:
    before = settings.LLMSTREAM
    site: Any = request.getfixturevalue("llmstream_site")
    site.says("Hello")
    assert before != settings.LLMSTREAM


def test_the_plugin_adds_its_options_and_fixtures(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.getoption("--llmstream-url") == ""
    assert pytestconfig.pluginmanager.has_plugin("llmstream.testing.fixtures")
