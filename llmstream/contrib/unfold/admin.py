"""Dresses the default site; Django finds this module by its name."""

from __future__ import annotations

from django.contrib import admin

from .dress import register

register(admin.site)
