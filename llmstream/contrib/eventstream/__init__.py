"""Notifications over django-eventstream: what happens to messages and generations, never what is said in them."""
