"""The examples of docs/testing.md are tests of this suite."""

from __future__ import annotations

from tests.documentation import snippet

for _mark in ("def test_an_answer", "ProviderRateLimited", "running_engine", "class Echo"):
    _names = snippet("docs/testing.md", _mark)
    globals().update({name: value for name, value in _names.items() if name.lower().startswith("test")})
