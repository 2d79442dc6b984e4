"""The demo site's addresses, and one at which a test ends an answer."""

from __future__ import annotations

from django.urls import path

from project.urls import urlpatterns as _site

from .answers import enough

urlpatterns = [*_site, path("enough/<str:generation>/", enough)]
