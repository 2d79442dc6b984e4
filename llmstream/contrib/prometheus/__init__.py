"""Metrics for Prometheus through ``prometheus_client``."""
