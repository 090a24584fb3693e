"""`python -m payonce` is `payonce`. This room must never do anything else."""

import sys

from payonce.cli import main

if __name__ == "__main__":
    sys.exit(main())
