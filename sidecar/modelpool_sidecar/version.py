"""Which version this is; the same as the distribution's, without asking the file system at the start."""

VERSION = "0.1.0"
