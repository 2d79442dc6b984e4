"""What sites check their deployments with finds nothing at a real server, and something at a broken one."""

from __future__ import annotations

import subprocess
import sys

from .conftest import Rig
from .faulty_proxies import FaultyProxies
from .servers import ROOT, LiveServer, environment
from .sites.provider import script

SHORT, LONG = script(12, 0.02), script(2_000, 0.02)


def check(site: LiveServer, url: str, *chosen: str) -> subprocess.Popen[str]:
    """Start the checks of the deployment at ``url``, as its users do."""
    cookies = [f"sessionid={site.database.accounts[name].sessionid}" for name in ("alice", "bob")]
    options = {
        "url": f"{url}/llmstream/",
        "cookie": cookies[0],
        "other-cookie": cookies[1],
        "prompt": SHORT,
        "long-prompt": LONG,
    }
    given = [f"--llmstream-{name}={value}" for name, value in options.items()]
    plugins = ("-p", "llmstream.testing.plugin", "-p", "no:cacheprovider", "-p", "no:schemathesis")
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", *plugins, "--pyargs", "llmstream.testing.conformance", *given, *chosen],
        cwd=site.log.parent,
        env=environment("sqlite", site.settings, PYTHONPATH=str(ROOT)),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_a_sound_deployment_passes_and_a_broken_one_does_not(rig: Rig) -> None:
    site = rig.server("uvicorn-wsproto", settings="tests.live.sites.hosts")
    with FaultyProxies(site.port) as proxies:
        sound = check(site, proxies.url)
        broken = check(site, proxies.url_of("forgetful"), "-k", "after_a_cut or cannot_be_served")
        outputs = [run.communicate(timeout=100)[0] for run in (sound, broken)]
    assert sound.returncode == 0, outputs[0]
    assert "skipped" not in outputs[0]
    assert broken.returncode == 1, outputs[1]
    assert "2 failed" in outputs[1]
