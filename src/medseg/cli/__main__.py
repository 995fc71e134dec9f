"""`python -m medseg.cli`, for where the `medseg` script is not on the path."""

import sys

from medseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
