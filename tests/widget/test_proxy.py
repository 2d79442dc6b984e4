"""The widget behind a real proxy that holds every stream back and lets no socket through."""

from __future__ import annotations

from playwright.sync_api import Browser, StorageState, expect

from tests.demo.browsing import Console
from tests.live.servers import LiveServer
from tools.services.nginx import NginxServer

from .browsing import Widget


def test_text_arrives_while_it_is_written_through_a_proxy_that_holds_streams_back(
    browser: Browser, site: LiveServer, alice: StorageState, console: Console
) -> None:
    console.allow("WebSocket connection to")
    with NginxServer([site.port], holds_back=True) as proxy:
        context = browser.new_context(base_url=proxy.url, storage_state=alice)
        page = context.new_page()
        console.watch(page)
        page.goto("/widget/")
        # Says a few words and nothing more until it is stopped: who waits for the whole answer gets none of it.
        page.get_by_label("Model").select_option("stalls")
        page.get_by_role("button", name="New conversation").click()
        widget = Widget(page)
        widget.send()
        expect(widget.text).to_contain_text("It begins.")
        expect(widget.stop).to_be_visible()
        assert widget.chat.evaluate("chat => chat.client.transport") == "poll"
        # The next page begins with what works.
        page.reload()
        expect(widget.chat.locator("[data-status=open]")).to_be_attached()
        assert widget.chat.evaluate("chat => chat.client.transport") == "poll"
        widget.stop.click()
        widget.ended("stopped")
        context.close()
