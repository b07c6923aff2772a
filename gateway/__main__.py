"""`python -m gateway` is the `codegen` command."""

import sys

from gateway.cli import main

sys.exit(main())
