"""``python -m conformance``."""

import sys

if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):  # safe_path: from Python 3.11 on
    del sys.path[0]  # remove the current folder, so that a json.py or a pytest.py there is never imported

from conformance.command import main

sys.exit(main())
