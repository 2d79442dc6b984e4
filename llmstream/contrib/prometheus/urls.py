"""The address of the metrics, for ``include("llmstream.contrib.prometheus.urls")``."""

from __future__ import annotations

from django.urls import path

from .views import metrics

app_name = "llmstream_prometheus"

urlpatterns = [path("", metrics, name="metrics")]
