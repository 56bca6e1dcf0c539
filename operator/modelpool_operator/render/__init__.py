"""Accepted objects as the sidecar reads them: every default filled in, every duration in milliseconds."""
