"""`python -m modelpool_sidecar`: the entry point of the image.

What is loaded at the start stays for ever. So the garbage collector rests meanwhile, which is a tenth of the start, and
never walks it afterwards, which would hold up every request for some milliseconds each time.
"""

import gc
import sys


def main() -> int:
    """Load, then run until a signal; the process's exit code."""
    gc.disable()
    from modelpool_sidecar import process  # noqa: PLC0415 - loaded while the collector rests

    gc.freeze()
    gc.enable()
    return process.main()


if __name__ == "__main__":
    sys.exit(main())
