"""`python -m modelpool_operator`: the entry point of the image."""

import sys

from modelpool_operator.process import main

if __name__ == "__main__":
    sys.exit(main())
