"""Tests of what models wrote as HTML."""
