"""All rows of the table."""

from collections.abc import Sequence

from conformance import (
    rows_body,
    rows_cache,
    rows_client,
    rows_commit,
    rows_connect,
    rows_down,
    rows_malformed,
    rows_recovery,
    rows_status,
    rows_usage,
)
from conformance.rows import Row

ROWS: Sequence[Row] = (
    *rows_status.ROWS,
    *rows_connect.ROWS,
    *rows_body.ROWS,
    *rows_malformed.ROWS,
    *rows_usage.ROWS,
    *rows_down.ROWS,
    *rows_commit.ROWS,
    *rows_recovery.ROWS,
    *rows_cache.ROWS,
    *rows_client.ROWS,
)
