"""Model entries of a site whose models all live at the fake upstream."""

from __future__ import annotations

from typing import Any

PROVIDER = "llmstream.providers.openai.OpenAIProvider"
API_KEY = "sk-never-to-be-seen"


def entry(base_url: str, behaviour: str, *, max_retries: int = 0, **more: Any) -> dict[str, Any]:
    """One entry of ``MODELS``: what the upstream does is the model's name."""
    options = {"base_url": base_url, "api_key": API_KEY, "max_retries": max_retries}
    return {"PROVIDER": PROVIDER, "MODEL": behaviour, "OPTIONS": options, **more}


def tokens(count: int) -> str:
    """The upstream's answer of so many tokens."""
    return "".join(f"tok{number} " for number in range(count))
