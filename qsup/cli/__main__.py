"""``python -m qsup.cli`` is ``qsup``."""

import sys

from qsup.cli import main

sys.exit(main())
