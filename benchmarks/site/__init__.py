"""A small site with llmstream in it: the settings of ``startproject``, one paced model, one behind an upstream."""
