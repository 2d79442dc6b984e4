"""An existing site with llmstream in it, shaped by the environment of its process.

``LLMSTREAM_LIVE`` is a JSON object that goes over the ``LLMSTREAM`` settings.
"""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403

LLMSTREAM = {
    "MODELS": {"paced": {"PROVIDER": "tests.live.sites.provider.PacedProvider", "LABEL": "Paced"}},
    "DEFAULT_MODEL": "paced",
    **json.loads(os.environ.get("LLMSTREAM_LIVE", "{}")),
}
