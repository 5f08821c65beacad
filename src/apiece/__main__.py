"""`python -m apiece`."""

import sys

from apiece.cli import main

sys.exit(main())
