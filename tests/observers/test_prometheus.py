"""Metrics for Prometheus, as its client serves them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client, override_settings
from django.urls import include, path
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from llmstream.database import run_db
from tests.support import asked, until

from .watching import SECRET, answer, stopped, watched

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "llmstream.contrib.prometheus.observer.Prometheus"

urlpatterns = [path("metrics", include("llmstream.contrib.prometheus.urls"))]


def value(name: str, **labels: str) -> float:
    """Return a figure; 0 where nothing was counted yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


@override_settings(ROOT_URLCONF=__name__)
def page() -> str:
    """What Prometheus reads."""
    response = Client().get("/metrics")
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain")
    return response.content.decode()


async def test_what_has_happened_is_counted() -> None:
    counted = {
        "ended": ("llmstream_generations_total", {"model": "helped", "status": "completed", "error": ""}, 1),
        "failed": (
            "llmstream_generations_total",
            {"model": "late", "status": "failed", "error": "provider_timeout"},
            1,
        ),
        "stopped": ("llmstream_generations_total", {"model": "endless", "status": "stopped", "error": ""}, 1),
        "calls": ("llmstream_model_call_seconds_count", {"model": "helped", "error": ""}, 2),
        "late": ("llmstream_model_call_seconds_count", {"model": "late", "error": "provider_timeout"}, 1),
        "input": ("llmstream_tokens_total", {"model": "helped", "type": "input"}, 40),
        "written": ("llmstream_tokens_total", {"model": "helped", "type": "cache_write"}, 4),
        "tool": ("llmstream_tool_seconds_count", {"tool": "fail", "error": "tool_failed"}, 1),
    }
    before = {name: value(sample, **labels) for name, (sample, labels, _) in counted.items()}
    flushes = value("llmstream_flush_seconds_count")
    async with watched(PATH) as engine:
        await answer(engine, "helped")
        await answer(engine, "late")
        await stopped(engine)
        await until(lambda: not engine.runs)
    grown = {name: value(sample, **labels) - before[name] for name, (sample, labels, _) in counted.items()}
    assert grown == {name: growth for name, (_, _, growth) in counted.items()}
    assert value("llmstream_flush_seconds_count") > flushes


async def test_the_page_has_what_goes_on_and_nothing_said() -> None:
    async with watched(PATH) as engine:
        await asked(engine, SECRET, model="endless")
        for ticker in engine.tickers:
            ticker(0.0)
        body = await run_db(page)
    figures = {family.name: family for family in text_string_to_metric_families(body)}
    assert figures["llmstream_running_generations"].samples[0].value == 1
    assert figures["llmstream_sockets"].samples[0].value == 0
    assert SECRET not in body


_PROCESS = """
import django
django.setup()
from llmstream.contrib.prometheus.observer import Prometheus
seen = Prometheus()
seen.replayed(2)
seen._families.running.set(3)
"""


def test_several_processes_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    for _ in range(2):
        subprocess.run([sys.executable, "-c", _PROCESS], env=env, check=True)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    figures = {family.name: family.samples[0].value for family in text_string_to_metric_families(page())}
    assert (figures["llmstream_replayed_events"], figures["llmstream_running_generations"]) == (4, 6)
