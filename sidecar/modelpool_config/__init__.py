"""The contract between operator and sidecar: what stands in `config.json`, how it is encoded, and its digests.

The reader owns it: the sidecar's package ships it, the operator imports it. It imports neither of them.
"""
