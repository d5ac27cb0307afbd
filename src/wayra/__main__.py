"""`python -m wayra` is the `wayra` command, for where the scripts folder is not on the path."""

import sys

from wayra.cli.entry import main

sys.exit(main())
