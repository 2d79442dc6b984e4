"""The demo site: a small Django project that uses llmstream as any site would."""
