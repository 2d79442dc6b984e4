"""The demo site's settings with scripted answers: slow enough to be caught in the act, long enough to scroll."""

from __future__ import annotations

from project.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

_SCRIPTED = "llmstream.providers.scripted.ScriptedProvider"
_CUT = [{"text": "one two three four five " * 4, "per_second": 50}, {"cut": True}]
LLMSTREAM = {
    "MODELS": {
        "scripted": {"PROVIDER": _SCRIPTED, "LABEL": "Scripted", "OPTIONS": {"per_second": 30}},
        "cut": {"PROVIDER": _SCRIPTED, "LABEL": "Cut off", "OPTIONS": {"script": _CUT}},
    },
    "DEFAULT_MODEL": "scripted",
    # A crash is noticed soon.
    "LEASE": 3.0,
    "SWEEP_INTERVAL": 0.5,
}
