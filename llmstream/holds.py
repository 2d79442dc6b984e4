"""Legal hold: what a conversation under it is kept from, whoever deletes."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.deletion import Collector, ProtectedError


def cascade_unless_held(collector: Collector, field: Any, sub_objs: Any, using: str) -> None:
    """An ``on_delete`` that deletes conversations along, and raises ProtectedError when one of them is held."""
    if held := list(sub_objs.filter(held=True)):
        raise ProtectedError("There are conversations under a legal hold.", set(held))
    models.CASCADE(collector, field, sub_objs, using)
