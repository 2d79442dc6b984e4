"""What sites check deployments with finds nothing at a real server behind nginx, and something at a broken one."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex

import pytest

from llmstream.doctor.site import Site, socket_url_of
from llmstream.testing.conformance import *  # noqa: F403
from llmstream.testing.conformance import (
    test_after_a_cut_at_any_event_the_same_answer_is_reached,
    test_positions_that_cannot_be_served_lead_to_a_snapshot,
)
from llmstream.testing.deployment import Deployment, after

from .conftest import Rig
from .faulty_proxies import FaultyProxies
from .servers import LiveServer
from .sites.provider import script


@pytest.fixture(scope="module")
def site(module_rig: Rig) -> LiveServer:
    """A server that knows its own names."""
    return module_rig.server("uvicorn-wsproto", settings="tests.live.sites.hosts")


@pytest.fixture(scope="module")
def proxies(site: LiveServer) -> Iterator[FaultyProxies]:
    """The documented proxy in front of it, and broken ones."""
    with FaultyProxies(site.port) as found:
        yield found


def reached(site: LiveServer, url: str, name: str) -> Deployment:
    """Return the deployment at ``url`` as somebody has it, by the cookie that they are known by."""
    url, token = f"{url}/llmstream/", token_hex(16)
    cookie = f"sessionid={site.database.accounts[name].sessionid}; csrftoken={token}"
    return Deployment(Site(url, socket_url_of(url), cookie, token))


@pytest.fixture(scope="module")  # type: ignore[no-redef]
def deployment(site: LiveServer, proxies: FaultyProxies) -> Deployment:
    """The deployment, instead of the one that options name."""
    return reached(site, proxies.url, "alice")


@pytest.fixture(scope="module")  # type: ignore[no-redef]
def stranger(site: LiveServer, proxies: FaultyProxies) -> Deployment:
    """The same, to somebody else."""
    return reached(site, proxies.url, "bob")


@pytest.fixture(scope="module")  # type: ignore[no-redef]
def prompt() -> str:
    """What has a short answer."""
    return script(12, 0.02)


@pytest.fixture(scope="module")  # type: ignore[no-redef]
def long_prompt() -> str:
    """What has a long answer."""
    return script(2_000, 0.02)


def test_a_proxy_that_forgets_positions_is_found(
    site: LiveServer, proxies: FaultyProxies, deployment: Deployment, prompt: str
) -> None:
    broken = reached(site, proxies.url_of("forgetful"), "alice")
    conversation = deployment.conversation()
    asked = deployment.ask(prompt, conversation)
    whole = asked, deployment.events(after(f"generations/{asked.generation}/events/", asked.before))
    for check in (
        test_after_a_cut_at_any_event_the_same_answer_is_reached,
        test_positions_that_cannot_be_served_lead_to_a_snapshot,
    ):
        with pytest.raises(AssertionError):
            check(broken, whole)
    deployment.delete(conversation)
