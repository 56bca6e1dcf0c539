"""Which version this is; the same as the distribution's, without asking the file system at the start."""

VERSION = "0.1.0"
IMAGE = f"modelpool-sidecar:{VERSION}"
"""What `make images` calls the sidecar's image; a registry goes in front of it."""
