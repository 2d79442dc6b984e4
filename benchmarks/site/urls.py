"""URLs of the benchmarks' site."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("llmstream/", include("llmstream.urls"))]
