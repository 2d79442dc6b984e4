"""The pages around the chat, small screens, the admin under the content policy, and the demo users."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
from playwright.sync_api import expect

from tests.live.servers import ROOT, Database, LiveServer
from tests.support import PATIENCE

from .browsing import Chat
from .conftest import SETTINGS, VisitorFactory, demo_site


def run_demo_users(site: LiveServer, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS, "DATABASE_URL": site.database.url, **extra}
    command = [sys.executable, "manage.py", "demo_users"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_demo_users_may_be_made_twice(site: LiveServer) -> None:
    done = run_demo_users(site)
    assert done.returncode == 0, done.stderr
    assert "alice, bob, admin" in done.stdout
    assert site.database.execute("SELECT count(*) FROM auth_user") == [(3,)]


def test_demo_users_are_refused_outside_development(site: LiveServer) -> None:
    done = run_demo_users(site, DJANGO_DEBUG="0")
    assert done.returncode == 1
    assert "DJANGO_DEBUG" in done.stderr


def test_the_home_page_says_which_model_answers(new_visitor: VisitorFactory) -> None:
    home = new_visitor().open("/")
    expect(home.page.get_by_text("Scripted answers are shown.")).to_be_visible()
    home.page.get_by_role("link", name="Open the chat").click()
    expect(home.page.get_by_role("heading", name="Sign in")).to_be_visible()
    home.page.get_by_role("button", name="Continue as alice").click()
    home.page.wait_for_url("/chat/")


def test_the_home_page_has_the_embedded_model_get_ready(demo_template: Database, tmp_path: Path) -> None:
    server = demo_site(demo_template, tmp_path, "project.settings").start()
    try:
        process = psutil.Process(server.wait_ready().pid)
        assert not process.children()
        assert httpx.get(f"{server.url}/", trust_env=False, timeout=PATIENCE).status_code == 200
        deadline = time.monotonic() + PATIENCE
        # Its process starts before anybody has asked.
        while not process.children():
            assert time.monotonic() < deadline, "the model is not getting ready"
            time.sleep(0.05)
    finally:
        server.kill()


def test_the_chat_says_that_answers_are_scripted(alice: Chat) -> None:
    expect(alice.page.get_by_text("Scripted answers:")).to_be_visible()


def test_signing_in_by_password_and_out(new_visitor: VisitorFactory) -> None:
    page = new_visitor().open("/accounts/login/").page
    page.get_by_label("User name").fill("bob")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("User name").fill("bob")
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("/chat/")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_a_strict_content_policy_is_in_force(alice: Chat) -> None:
    response = alice.page.reload()
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    blocked = alice.page.evaluate("""() => new Promise(resolve => {
        document.addEventListener("securitypolicyviolation", event => resolve(event.effectiveDirective));
        document.body.append(Object.assign(document.createElement("script"), {textContent: "1"}));
    })""")
    assert blocked == "script-src-elem"
    alice.visitor.console.errors.clear()


def test_the_admin_works_under_the_policy(new_visitor: VisitorFactory) -> None:
    visitor = new_visitor()
    page = visitor.open("/admin/").page
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Users").click()
    page.get_by_role("link", name="alice", exact=True).click()
    expect(page.get_by_role("heading", name="alice")).to_be_visible()


def test_a_phone_has_the_list_in_a_drawer(new_visitor: VisitorFactory) -> None:
    visitor = new_visitor(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    chat = visitor.sign_in()
    chat.send("Tell me something")
    chat.ended()
    assert chat.page.evaluate("document.documentElement.scrollWidth") == 360
    link = chat.page.get_by_role("link", name="New chat")
    expect(link).not_to_be_in_viewport()
    chat.page.get_by_role("button", name="Conversations").click()
    expect(link).to_be_in_viewport()
    chat.page.keyboard.press("Escape")
    expect(link).not_to_be_in_viewport()
