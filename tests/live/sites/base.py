"""An existing site with llmstream in it, shaped by the environment of its process.

``LLMSTREAM_LIVE`` is a JSON object that goes over the ``LLMSTREAM`` settings.
"""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

# A site without extras; those that are about one add its app.
INSTALLED_APPS = [app for app in INSTALLED_APPS if "eventstream" not in app]

LLMSTREAM = {
    "MODELS": {"paced": {"PROVIDER": "tests.live.sites.provider.PacedProvider", "LABEL": "Paced"}},
    "DEFAULT_MODEL": "paced",
    **json.loads(os.environ.get("LLMSTREAM_LIVE", "{}")),
}
