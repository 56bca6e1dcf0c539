"""What the outside sees of a request: spans, metrics, one log line. Begin at `service.build`.

Pure: `names` (every name and label), `clean` (what of a foreign string may be shown), `tracecontext` (W3C headers),
`settings` (OTEL_* variables), `spans` (attributes and statuses), `logline`. With libraries: `metrics` (Prometheus),
`tracing` and `exporting` (OpenTelemetry's SDK, imported only where an endpoint is configured). `service` puts them
together, `null` stands in for all of it. This package itself imports nothing.
"""
