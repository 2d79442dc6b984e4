"""The demo site's settings with scripted answers: slow enough to be caught in the act, long enough to scroll."""

from __future__ import annotations

from project.settings import *  # noqa: F403
from project.settings import AGENT_SCRIPT, AGENT_TOOLS

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

ROOT_URLCONF = "tests.demo.urls"

# One paragraph without markup, so that what the page shows is the stored text to the letter.
_SENTENCES = [f"Sentence {number} of this answer says nothing at all." for number in range(9)]


def _model(label: str, *script: object) -> dict[str, object]:
    return {
        "PROVIDER": "llmstream.providers.scripted.ScriptedProvider",
        "LABEL": label,
        "OPTIONS": {"script": list(script)},
    }


LLMSTREAM = {
    "MODELS": {
        "scripted": _model("Scripted", {"text": " ".join(_SENTENCES), "per_second": 40}),
        # Until the test lets it end, for what has to happen before.
        "long": {"PROVIDER": "tests.demo.answers.long", "LABEL": "Long"},
        # Until somebody stops it.
        "stalls": {**_model("Falls silent", "It begins. ", {"stall": True}), "TOKEN_TIMEOUT": 120.0},
        "cut": _model("Cut off", "It begins well. ", {"cut": True}),
        "agent": {**_model("Agent", *AGENT_SCRIPT), "TOOLS": AGENT_TOOLS},
        "thinks": _model("Thinks first", {"reasoning": "Let me see."}, "Here it is."),
    },
    "DEFAULT_MODEL": "scripted",
    # A crash is noticed soon.
    "LEASE": 3.0,
    "SWEEP_INTERVAL": 0.5,
}
