"""A site pays for the packages of the services that it names, and for no others."""

from __future__ import annotations

import subprocess
import sys

import pytest

PACKAGES = {
    "llmstream.providers.openai.OpenAIProvider": "openai",
    "llmstream.providers.anthropic.AnthropicProvider": "anthropic",
    "llmstream.providers.gemini.GeminiProvider": "google.genai",
}

CHECK = """
import sys
import django
from django.conf import settings
from django.core.checks import run_checks
sys.modules[{package!r}] = None
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "llmstream"],
    LLMSTREAM={{"MODELS": {{"default": {{"PROVIDER": {provider!r}}}}}}},
)
django.setup()
print(*(found.msg for found in run_checks(tags=["llmstream"]) if found.id == "llmstream.E002"))
"""


def output_of(code: str) -> str:
    """Return what an interpreter of its own prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout


@pytest.mark.parametrize("provider", list(PACKAGES))
def test_a_check_names_the_package_that_is_not_there(provider: str) -> None:
    told = output_of(CHECK.format(provider=provider, package=PACKAGES[provider]))
    assert "MODELS['default']['PROVIDER'] cannot be imported" in told
    assert PACKAGES[provider].rpartition(".")[2] in told.partition("imported")[2]


@pytest.mark.parametrize("provider", list(PACKAGES))
def test_a_provider_brings_in_its_own_package_alone(provider: str) -> None:
    names = sorted(set(PACKAGES.values()))
    module = provider.rpartition(".")[0]
    code = f"import sys, {module}; print(*(name for name in {names} if name in sys.modules))"
    assert output_of(code).split() == [PACKAGES[provider]]
