"""`make bench`: what a request costs in modelpool, beside nginx, in the same run."""

import sys

from bench.command import main

if __name__ == "__main__":
    sys.exit(main())
