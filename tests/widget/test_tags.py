"""The template tags: who sees what, what the page carries, and what it leaves out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.http import HttpRequest
from django.template import Context, Template
from django.test import RequestFactory, override_settings
from django.utils.functional import SimpleLazyObject

from llmstream.branches import choose
from llmstream.generations.prompts import retry
from llmstream.models import Conversation, Membership, Message
from llmstream.snapshot import state
from tests.admin.staff import answered, say
from tests.support import ask, changed, user

MANIFEST = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
AGGREGATING = "tests.widget.test_tags.AggregatingStorage"


class AggregatingStorage(ManifestStaticFilesStorage):
    """Rewrites the imports of modules, too."""

    support_js_module_import_aggregation = True


def request(who: Any = None) -> HttpRequest:
    """A request of somebody's."""
    made = RequestFactory().get("/")
    made.user = who or AnonymousUser()
    return made


def render(source: str, who: Any = None, **names: Any) -> str:
    """Render a template with the tags as a page does."""
    context = {"request": request(who), **names}
    return str(Template("{% load llmstream %}" + source).render(Context(context)))


def carried(html: str) -> dict[str, Any]:
    """The state inside the element."""
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    loaded: dict[str, Any] = json.loads(found)
    return loaded


@pytest.fixture
def chat(db: None) -> Conversation:
    """Ann's conversation of one answered prompt, with a hostile one."""
    sent = answered("<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>")
    Message.objects.filter(conversation=sent.conversation, role="user").update(author=user("ann"))
    return sent.conversation


@pytest.fixture
def ann(chat: Conversation) -> User:
    """Its owner."""
    return User.objects.get(username="ann")


def test_the_chat_carries_the_transcript_and_the_state_of_one_moment(chat: Conversation, ann: User) -> None:
    html = render("{% llmstream_chat chat %}", ann, chat=chat)
    current = state(Conversation.objects.get(pk=chat.pk))
    for message in current["messages"]:
        message["feedback"] = None
    assert carried(html) == json.loads(json.dumps(current))
    assert f'conversation="{chat.public_id}"' in html
    assert f'user="{ann.pk}"' in html
    assert 'access="owner"' in html
    assert 'api="/llmstream/"' in html
    assert html.count("<article") == 2
    assert 'aria-label="You"' in html


def test_what_people_and_models_wrote_stays_text(chat: Conversation, ann: User) -> None:
    html = render("{% llmstream_chat chat %}", ann, chat=chat)
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "<img" not in html
    assert len(re.findall("<script", html)) == 1
    assert [part for part in ("onclick=", "style=", "<style") if part in html] == []


def test_the_state_is_that_of_the_tag_not_of_the_row_that_the_view_has(ann: User, chat: Conversation) -> None:
    stale = Conversation.objects.get(pk=chat.pk)
    ask(chat, "Another one")
    html = render("{% llmstream_chat chat %}", ann, chat=stale)
    assert len(carried(html)["messages"]) == html.count("<article") == 4
    assert "An answer is being written." in html


@pytest.mark.parametrize("tag", ["llmstream_chat", "llmstream_messages"])
def test_what_one_may_not_read_is_not_there(chat: Conversation, tag: str) -> None:
    for stranger in (None, user("bob")):
        assert render(f"{{% {tag} chat %}}", stranger, chat=chat).strip() == ""
        assert render(f"{{% {tag} chat %}}", stranger, chat="nosuchconversation").strip() == ""


def test_members_get_what_their_role_allows(chat: Conversation) -> None:
    reader = user("bob")
    Membership.objects.create(conversation=chat, user=reader, role="reader")
    html = render("{% llmstream_chat chat %}", reader, chat=chat.public_id)
    assert 'access="reader"' in html
    assert 'approvals="off"' in html
    assert 'aria-label="ann"' in html


def test_messages_are_to_read_only(chat: Conversation, ann: User) -> None:
    html = render("{% llmstream_messages chat %}", ann, chat=chat)
    assert html.count("<article") == 2
    assert "<script" not in html
    assert "<llm-chat" not in html


def test_parts_that_are_no_text_are_folded_away(chat: Conversation, ann: User) -> None:
    answer = chat.messages.get(role="assistant")
    tool = {
        "type": "tool",
        "call": "c",
        "tool": "weather",
        "input": {"city": "Ōsaka"},
        "approval": None,
        "output": "<b>",
    }
    data = {"type": "data", "name": "map", "data": [1]}
    answer.parts = [{"type": "reasoning", "text": "Hm."}, tool, data, {"type": "text", "text": "Rain."}]
    answer.save()
    html = render("{% llmstream_messages chat %}", ann, chat=chat)
    assert html.count("<details") == 2
    for part in ("Ōsaka", "&lt;b&gt;", "Hm.", "map", "Rain."):
        assert part in html


def test_only_the_chosen_branch_is_shown(db: None) -> None:
    first = answered("Why?", "Left behind.", status="stopped")
    second = retry(first.generation.pk)
    say(second.generation, "The newer one.")
    html = render("{% llmstream_messages chat %}", user("ann"), chat=first.conversation)
    assert "The newer one." in html
    assert "Left behind." not in html
    assert html.count("Why?") == 1
    assert html.count("Version 2 of 2") == 1
    choose(first.conversation.pk, first.answer.public_id)
    html = render("{% llmstream_messages chat %}", user("ann"), chat=first.conversation)
    assert "The newer one." not in html
    assert "Left behind." in html
    assert html.count("Version 1 of 2") == 1


def test_turns_left_out_of_the_history_are_told(chat: Conversation, ann: User) -> None:
    assert "left out" not in render("{% llmstream_messages chat %}", ann, chat=chat)
    chat.generations.update(left_out=12)
    assert "Turns left out of the history: 12" in render("{% llmstream_messages chat %}", ann, chat=chat)


def test_more_arguments_are_attributes(chat: Conversation, ann: User) -> None:
    html = render('{% llmstream_chat chat label="A & B" toggle_key="F8" transport="sse" %}', ann, chat=chat)
    assert 'label="A &amp; B"' in html
    assert 'toggle-key="F8"' in html
    assert html.count('transport="sse"') == 1


def test_the_chat_knows_whose_images_the_site_trusts(chat: Conversation, ann: User) -> None:
    assert "image-origins" not in render("{% llmstream_chat chat %}", ann, chat=chat)
    with changed(IMAGE_ORIGINS=["https://a.example", "https://b.example"]):
        html = render("{% llmstream_chat chat %}", ann, chat=chat)
    assert 'image-origins="https://a.example https://b.example"' in html


def test_without_channels_no_socket_is_tried(chat: Conversation, ann: User) -> None:
    assert 'transport="sse"' in render("{% llmstream_chat chat %}", ann, chat=chat)


@pytest.mark.parametrize(
    "setting", [{"CSRF_COOKIE_HTTPONLY": True}, {"CSRF_USE_SESSIONS": True}, {"CSRF_COOKIE_NAME": "x"}]
)
def test_the_token_is_on_the_page_where_the_cookie_cannot_be_read(
    chat: Conversation, ann: User, setting: dict[str, Any]
) -> None:
    assert "csrf-token" not in render("{% llmstream_chat chat %}", ann, chat=chat)
    with override_settings(**setting):
        made = request(ann)
        made.session = {}  # type: ignore[assignment]
        assert 'csrf-token="' in render("{% llmstream_chat chat %}", request=made, chat=chat)


def test_the_cookie_is_set_for_those_who_will_send(chat: Conversation, ann: User) -> None:
    made = request(ann)
    render("{% llmstream_chat chat %}", request=made, chat=chat)
    assert made.META["CSRF_COOKIE_NEEDS_UPDATE"]


def test_assets_have_no_nonce_where_the_site_has_none() -> None:
    html = render("{% llmstream_assets %}")
    assert "nonce" not in html
    assert 'href="/static/llmstream/chat.css"' in html
    assert '<script type="module" src="/static/llmstream/chat.js">' in html


def test_assets_carry_the_nonce_of_the_page() -> None:
    made = request()
    # As django-csp makes it: false until somebody has asked for it.
    made.csp_nonce = SimpleLazyObject(lambda: "abc")  # type: ignore[attr-defined]
    assert render("{% llmstream_assets %}", request=made).count('nonce="abc"') == 3
    # As Django's own context processor gives it.
    assert render("{% llmstream_assets %}", csp_nonce=SimpleLazyObject(lambda: "def")).count('nonce="def"') == 3


def test_without_the_request_the_tags_say_what_is_missing(chat: Conversation) -> None:
    with pytest.raises(ImproperlyConfigured, match="context processor"):
        Template("{% load llmstream %}{% llmstream_messages chat %}").render(Context({"chat": chat}))


def test_a_site_may_replace_how_a_message_looks(chat: Conversation, ann: User) -> None:
    loaders = [
        ("django.template.loaders.locmem.Loader", {"llmstream/message.html": "<p>{{ message.name }}</p>"}),
        "django.template.loaders.app_directories.Loader",
    ]
    with override_settings(
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"loaders": loaders}}]
    ):
        html = render("{% llmstream_chat chat %}", ann, chat=chat)
    assert "<p>You</p><p>Assistant</p>" in html


@pytest.mark.parametrize("backend", [MANIFEST, AGGREGATING])
def test_hashed_names_lead_to_every_module(tmp_path: Path, backend: str) -> None:
    storages = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": backend},
    }
    with override_settings(STATIC_ROOT=tmp_path, STORAGES=storages, DEBUG=False):
        call_command("collectstatic", verbosity=0, interactive=False)
        html = render("{% llmstream_assets %}")
    (entry,) = re.findall(r'src="/static/(.*?)"', html)
    assert re.fullmatch(r"llmstream/chat\.[0-9a-f]{12}\.js", entry)
    modules = imported(tmp_path / entry)
    names = {module.relative_to(tmp_path / "llmstream").as_posix() for module in modules}
    assert all(re.search(r"\.[0-9a-f]{12}\.js$", name) for name in names) == (backend == AGGREGATING)
    assert {re.sub(r"\.[0-9a-f]{12}", "", name) for name in names} >= {
        "client.js",
        "chat/markdown.js",
        "vendor/marked.esm.js",
    }


def imported(module: Path, seen: set[Path] | None = None) -> set[Path]:
    """Every module that one imports, by the rules of the web: all of them must be there."""
    found = seen if seen is not None else set()
    for path in re.findall(
        r'^(?:import|export) [^;]*?from "(\..*?)";', module.read_text(encoding="utf-8"), re.MULTILINE
    ):
        target = (module.parent / path).resolve()
        assert target.is_file(), f"{module.name} imports {path}"
        if target not in found:
            found.add(target)
            imported(target, found)
    return found


def test_a_room_shows_who_takes_part_around_the_chat(chat: Conversation, ann: User) -> None:
    Membership.objects.create(conversation=chat, user=user("<b>bob</b>"), role="writer")
    html = render("{% llmstream_room chat %}", ann, chat=chat)
    assert re.findall(r'data-name="(.*?)"', html) == ["ann", "&lt;b&gt;bob&lt;/b&gt;"]
    assert 'class="llm-invite"' in html
    assert 'busy="queue"' in html
    assert carried(html)["id"] == chat.public_id
    assert 'busy="reject"' in render('{% llmstream_room chat busy="reject" %}', ann, chat=chat)


def test_only_owners_invite_and_strangers_see_no_room(chat: Conversation) -> None:
    writer = user("carol")
    assert render("{% llmstream_room chat %}", writer, chat=chat).strip() == ""
    Membership.objects.create(conversation=chat, user=writer, role="writer")
    html = render("{% llmstream_room chat %}", writer, chat=chat)
    assert 'class="llm-people"' in html
    assert "llm-invite" not in html


def test_without_scripts_the_chat_posts_to_the_page(chat: Conversation, ann: User) -> None:
    html = render("{% llmstream_chat chat %}", ann, chat=chat)
    (form,) = re.findall(r"<noscript>.*?</noscript>", html, re.DOTALL)
    assert f'action="/llmstream/conversations/{chat.public_id}/page/"' in form
    reader = user("dave")
    Membership.objects.create(conversation=chat, user=reader, role="reader")
    assert "<form" not in render("{% llmstream_chat chat %}", reader, chat=chat)
