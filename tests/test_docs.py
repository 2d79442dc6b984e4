"""The documentation says what is true: every snippet runs."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.test import Client, override_settings
from django.utils import timezone
from django.utils.module_loading import import_string

from llmstream import checks
from llmstream.conf import Limits, get_settings
from llmstream.exceptions import BudgetExceeded, PermissionDenied
from llmstream.models import Conversation, Generation
from llmstream.permissions import Requester
from llmstream.providers.base import ChatMessage, Finish, Phase, ProviderRequest, Usage
from llmstream.providers.function import FunctionProvider
from llmstream.providers.registry import get_provider
from llmstream.runners.worker import GenerationWorker
from llmstream.signals import generation_finished
from llmstream.toolbox.context import ToolContext
from tests.admin.staff import ADMIN, answered, staff
from tests.documentation import PAGES, commands, page, snippet
from tools.services import nginx, valkey, web, worker
from tools.services.valkey import ValkeyServer

SERVICES = ["OpenAIResponsesProvider", "AnthropicProvider", "GeminiProvider"]


def test_every_python_snippet_is_one_that_a_test_runs() -> None:
    known = {
        "admin.md": ["LogEntry", "class Conversations", "ScriptedProvider"],
        "http.md": ["OpenAPIView"],
        "security.md": ["CORS_ALLOWED_ORIGINS", "OriginValidator"],
        "testing.md": ["def test_an_answer", "ProviderRateLimited", "running_engine", "class Echo"],
        "notifications.md": ["EVENTSTREAM_STORAGE_CLASS", "class Channels"],
        "README.md": ["INSTALLED_APPS", "urlpatterns", "StreamHandoff(", "websocket_urlpatterns"],
        "providers.md": ["LLMSTREAM", *SERVICES, "RECOVERY", "class LastTurns", "class Parrot"],
        "deployment.md": [
            "one_thread",
            "sqlite3",
            "postgresql",
            "CHANNEL_LAYERS",
            "TICKET_LIFETIME",
            "ChannelNameRouter",
        ],
        "retention.md": ["def due"],
        "monitoring.md": ["OBSERVERS", "JSONFormatter", "class Slow"],
        "markdown.md": ["IMAGE_ORIGINS"],
        "settings.md": ["class StaffStart", "@receiver"],
        "usage.md": ["usage_of", "LIMITS", "class Plans"],
        "tools.md": ["def stocktake", "def librarian"],
        "agents.md": ["pydantic_ai", "from agents import"],
    }
    for path in PAGES:
        codes = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        assert len(codes) == len(known.get(path.name, [])), path.name
        for code, mark in zip(codes, known.get(path.name, []), strict=True):
            assert mark in code


def test_the_nginx_site_is_the_one_that_tests_and_cluster_run() -> None:
    assert re.findall(r"```nginx\n(.*?)```", page("docs/deployment.md"), re.DOTALL) == [nginx.SITE.read_text()]


def test_the_web_processes_are_those_that_nginx_passes_requests_to() -> None:
    ports = re.findall(r"server 127\.0\.0\.1:(\d+) ", nginx.SITE.read_text())
    start = ["uvicorn", "mysite.asgi:application", "--port"]
    assert commands("docs/deployment.md", "uvicorn") == [[*start, port, *web.OPTIONS] for port in ports]


def test_the_worker_is_started_as_in_the_cluster() -> None:
    assert commands("docs/deployment.md", "python manage.py runworker") == [["python", "manage.py", *worker.OPTIONS]]


@pytest.mark.django_db(transaction=True)
def test_what_a_crash_left_is_looked_for_as_told() -> None:
    for _, _, name, *arguments in commands("docs/deployment.md", "python manage.py llmstream_recover"):
        call_command(name, *arguments, stdout=StringIO())


def test_valkey_is_started_as_in_the_cluster() -> None:
    (command,) = commands("docs/deployment.md", "valkey-server")
    assert command == ["valkey-server", *valkey.OPTIONS]


def test_the_example_addresses_serve_the_document() -> None:
    addresses = ModuleType("addresses")
    vars(addresses).update(snippet("docs/http.md", "OpenAPIView"))
    with override_settings(ROOT_URLCONF=addresses):
        assert Client().get("/llmstream/openapi.json").json()["openapi"] == "3.1.0"


async def test_the_example_layer_carries_messages(valkey_server: ValkeyServer) -> None:
    entry = snippet("docs/deployment.md", "CHANNEL_LAYERS")["CHANNEL_LAYERS"]["default"]
    assert entry["CONFIG"]["hosts"] == ["redis://127.0.0.1:6379/0"]
    layer = import_string(entry["BACKEND"])(hosts=[valkey_server.url])
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "news"})
    assert await layer.receive(channel) == {"type": "news"}
    await layer.flush()


async def test_the_example_provider_answers() -> None:
    provider = snippet("docs/providers.md", "class Parrot")["Parrot"]()
    request = ProviderRequest("g", "parrot", [ChatMessage("user", "Hello there")])
    parts = [part async for part in provider.stream(request)]
    assert parts == ["Hello ", "there ", Usage(2, 2), Finish("stop")]


async def test_the_example_context_policy_keeps_the_last_turns() -> None:
    policy = snippet("docs/providers.md", "class LastTurns")["LastTurns"](turns=3)
    turns = [ChatMessage("system", "Be brief.")]
    turns += [ChatMessage(role, role) for role in ("user", "assistant", "user", "assistant", "user")]
    assert await policy.fit(ProviderRequest("g", "", turns), 0) == [turns[0], *turns[-3:]]
    assert await policy.fit(ProviderRequest("g", "", turns[:-1]), 0) == [turns[0], *turns[3:5]]


async def test_the_example_tools_are_tools() -> None:
    found = snippet("docs/tools.md", "def stocktake")
    price, stocktake, order = found["price"], found["stocktake"], found["order"]
    assert await price.call(price.arguments({"fruit": "pear", "pieces": 2}), None) == 80
    with pytest.raises(found["ToolError"]):
        await price.call(price.arguments({"fruit": "stone"}), None)
    assert [order.needs_approval({"pieces": pieces}) for pieces in (10, 11)] == [False, True]
    teller = Teller()
    context = ToolContext(teller, call="c", user_id=1, conversation_id="c", generation_id="g", max_events=100)
    assert await stocktake.call({"shelves": 2}, context) == {"counted": 24}
    assert teller.told == ["phase", "tool-progress", "tool-progress", "data"]


class Teller:
    """Remembers what a tool tells."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, kind: str, **fields: Any) -> None:
        """Keep the type."""
        self.told.append(kind)


async def test_the_example_agent_answers() -> None:
    librarian = snippet("docs/tools.md", "def librarian")["librarian"]
    request = ProviderRequest("g", "", [ChatMessage("user", "rain")])
    parts = [part async for part in FunctionProvider(librarian, shelf="B").stream(request)]
    assert parts[0] == Phase("searching", "shelf B")
    assert parts[-2:] == ["There is one book on rain.", Finish("stop")]


def test_the_example_models_pass_the_checks() -> None:
    with override_settings(LLMSTREAM=snippet("docs/providers.md", "LLMSTREAM = ")["LLMSTREAM"]):
        assert [found.id for found in run_checks(tags=["llmstream"]) if "llmstream.E" in str(found.id)] == []


@pytest.mark.parametrize("name", SERVICES)
def test_the_example_services_can_be_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(variable, "key")
    models = snippet("docs/providers.md", name)["MODELS"]
    with override_settings(LLMSTREAM={"MODELS": models}):
        assert [found.id for found in run_checks(tags=["llmstream"]) if "llmstream.E" in str(found.id)] == []
        assert {type(get_provider(key)).__name__ for key in models} == {name}


def test_the_example_databases_are_what_the_checks_ask_for() -> None:
    sqlite = snippet("docs/deployment.md", "sqlite3")["DATABASES"]["default"]["OPTIONS"]
    postgres = snippet("docs/deployment.md", "postgresql")["DATABASES"]["default"]["OPTIONS"]
    assert list(checks.sqlite_faults(sqlite)) == []
    assert list(checks.pool_faults(postgres)) == []


def test_the_demo_ends_its_middleware_as_the_example_does() -> None:
    assert (
        snippet("docs/deployment.md", "one_thread")["MIDDLEWARE"] == import_string("project.settings.MIDDLEWARE")[-1:]
    )


def test_the_example_policy_lets_staff_start(django_user_model: Any) -> None:
    policy = snippet("docs/settings.md", "class StaffStart")["StaffStart"]()
    policy.check_create(Requester(django_user_model(is_staff=True)))
    with pytest.raises(PermissionDenied):
        policy.check_create(Requester(django_user_model(is_staff=False)))


@pytest.mark.django_db
def test_the_example_total_is_the_ledger_s() -> None:
    sent = answered("Hi" * 10, "Hello there")
    spent_this_week = snippet("docs/usage.md", "usage_of")["spent_this_week"]
    assert spent_this_week(sent.conversation.owner) == (0, 5 + 3)


def test_the_example_prices_and_limits_pass_the_checks() -> None:
    with override_settings(LLMSTREAM=snippet("docs/usage.md", "LIMITS")["LLMSTREAM"]):
        assert [found.id for found in run_checks(tags=["llmstream"]) if "llmstream.E" in str(found.id)] == []


def test_the_example_quota_spares_the_staff(django_user_model: Any) -> None:
    plans = snippet("docs/usage.md", "class Plans")["Plans"]()
    staff_member, other = (Conversation(owner=django_user_model(pk=1, is_staff=is_staff)) for is_staff in (True, False))
    assert plans.limits(staff_member) == Limits()
    assert plans.limits(other) == Limits(cost_per_month=Decimal(5))
    with pytest.raises(BudgetExceeded):
        plans.check(Conversation(), "large")


@pytest.mark.django_db
def test_the_example_query_finds_readings() -> None:
    readings = snippet("docs/admin.md", "LogEntry")["readings"]
    sent = answered()
    ann = Client()
    ann.force_login(staff("view_conversation", "view_content", name="ann"))
    ann.get(f"{ADMIN}conversation/{sent.conversation.pk}/change/")
    assert [entry.change_message for entry in readings] == ["Read the transcript."]


@pytest.mark.django_db
def test_the_example_policy_says_what_is_due(django_user_model: Any) -> None:
    due = snippet("docs/retention.md", "def due")["due"]
    ann, now = django_user_model.objects.create(username="ann"), timezone.now()
    found = []
    for owner, days in ((None, 8), (ann, 8), (ann, 366)):
        found.append(Conversation.objects.create(owner=owner))
        Conversation.objects.filter(pk=found[-1].pk).update(updated_at=now - timedelta(days=days))
    assert set(due(Conversation.objects.all(), now)) == {found[0], found[2]}


@pytest.mark.django_db
def test_the_commands_of_retention_run(django_user_model: Any) -> None:
    django_user_model.objects.create(username="ann")
    for command in commands("docs/retention.md", "python manage.py"):
        call_command(*command[2:], stdout=StringIO())


async def test_the_example_script_is_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "answer.script.json").write_text('[{"text": "Hello"}, {"finish": "length"}]')
    provider = snippet("docs/admin.md", "ScriptedProvider")["provider"]
    parts = [part async for part in provider.stream(ProviderRequest("g", "", []))]
    assert parts[0] == "Hello"
    assert Finish("length") in parts


def test_the_example_receiver_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    receiver = snippet("docs/settings.md", "@receiver")["count"]
    try:
        generation = Generation(public_id="abc", status="stopped")
        generation_finished.send(Generation, generation=generation)
        assert capsys.readouterr().out == "abc stopped\n"
    finally:
        generation_finished.disconnect(receiver, Generation)


def test_the_example_recovery_is_understood() -> None:
    with override_settings(LLMSTREAM={"MODELS": snippet("docs/providers.md", "RECOVERY")["MODELS"]}):
        assert list(get_settings().models["house"].recovery) == ["retry", "continue"]


def test_the_example_notifications_pass_the_checks() -> None:
    given = {k: v for k, v in snippet("docs/notifications.md", "STORAGE_CLASS").items() if k.startswith("EVENTSTREAM")}
    with override_settings(**given):
        assert run_checks(tags=["llmstream_eventstream"]) == []


def test_the_example_channels_keep_ours_closed() -> None:
    channels = snippet("docs/notifications.md", "class Channels")["Channels"]()
    readable = [name for name in ("news", "llmstream-operations", "other") if channels.can_read_channel(None, name)]
    assert readable == ["news"]


def test_a_worker_is_mounted_as_told() -> None:
    mounted = snippet("docs/deployment.md", "ChannelNameRouter")["application"].application_mapping
    _, channel = commands("docs/deployment.md", "python manage.py runworker")[0][2:]
    assert mounted["channel"].application_mapping[channel].consumer_class is GenerationWorker
