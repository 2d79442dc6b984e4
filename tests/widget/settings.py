"""The demo site's settings with answers in Markdown."""

from __future__ import annotations

from project.settings import *  # noqa: F403
from project.settings import AGENT_SCRIPT, AGENT_TOOLS
from project.settings import MIDDLEWARE as _MIDDLEWARE

from .answers import FORMULAS, HOSTILE, MARKDOWN

ROOT_URLCONF = "tests.demo.urls"

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# The reader's language, as browsers ask for it.
MIDDLEWARE = [*_MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}


def _model(label: str, *script: object) -> dict[str, object]:
    return {
        "PROVIDER": "llmstream.providers.scripted.ScriptedProvider",
        "LABEL": label,
        "OPTIONS": {"script": list(script)},
    }


LLMSTREAM = {
    "MODELS": {
        "markdown": _model("Markdown", {"reasoning": "Let me *see*."}, {"text": MARKDOWN, "per_second": 200}),
        # The same, and its end when the test lets it.
        "held": {"PROVIDER": "tests.widget.answers.held", "LABEL": "Held"},
        "hostile": _model("Hostile", {"text": HOSTILE, "per_second": 200}),
        "formulas": _model("Formulas", {"text": FORMULAS, "per_second": 200}),
        # Until somebody stops it.
        "stalls": {**_model("Falls silent", "It **begins. ", {"stall": True}), "TOKEN_TIMEOUT": 120.0},
        # Says what it has heard last, and knows nothing else.
        "forgets": {
            **{"PROVIDER": "tests.widget.answers.echo", "LABEL": "Forgets"},
            **{"CONTEXT_TOKENS": 1, "ATTACHMENTS": ["text/*"]},
        },
        "agent": {**_model("Agent", *AGENT_SCRIPT), "TOOLS": AGENT_TOOLS},
    },
    "DEFAULT_MODEL": "markdown",
    "ATTACHMENTS": ["image/*", "text/*"],
    "MAX_ATTACHMENT_BYTES": 100_000,
}
