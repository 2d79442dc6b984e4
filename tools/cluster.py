"""``make cluster``: from a bare Python to the demo site on several processes, as in production.

Options for those who have the packages already: ``--no-setup`` uses this interpreter as it is, ``--directory`` keeps
data and logs elsewhere than in ``.cluster``.
"""

from __future__ import annotations

import os
import sys

from .environment import ROOT, ensure


def main() -> None:
    """Prepare the environment, then become what starts the servers and watches them."""
    arguments = sys.argv[1:]
    if "--no-setup" in arguments:
        arguments.remove("--no-setup")
        python = sys.executable
    else:
        python = str(ensure(".venv-cluster", "-r", "requirements-cluster.txt", python=sys.executable))
    os.chdir(ROOT)
    os.execv(python, [python, "-m", "tools.cluster_servers", *arguments])


if __name__ == "__main__":
    main()
