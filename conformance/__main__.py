"""``python -m conformance``."""

import sys

if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):  # safe_path: from Python 3.11 on
    del sys.path[0]  # the current folder: a json.py or a pytest.py that lies there is not ours to run

from conformance.command import main

sys.exit(main())
