"""Notifications over django-eventstream."""
