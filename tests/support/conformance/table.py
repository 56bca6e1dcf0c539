"""All rows of the table."""

from collections.abc import Sequence

from conformance import (
    rows_body,
    rows_cache,
    rows_callers,
    rows_chains,
    rows_client,
    rows_commit,
    rows_connect,
    rows_cuts,
    rows_down,
    rows_events,
    rows_hedging,
    rows_leaving,
    rows_malformed,
    rows_places,
    rows_pools,
    rows_recovery,
    rows_slow,
    rows_status,
    rows_usage,
)
from conformance.rows import Row

ROWS: Sequence[Row] = (
    *rows_status.ROWS,
    *rows_connect.ROWS,
    *rows_cuts.ROWS,
    *rows_body.ROWS,
    *rows_events.ROWS,
    *rows_slow.ROWS,
    *rows_malformed.ROWS,
    *rows_usage.ROWS,
    *rows_down.ROWS,
    *rows_commit.ROWS,
    *rows_hedging.ROWS,
    *rows_pools.ROWS,
    *rows_chains.ROWS,
    *rows_callers.ROWS,
    *rows_places.ROWS,
    *rows_recovery.ROWS,
    *rows_cache.ROWS,
    *rows_leaving.ROWS,
    *rows_client.ROWS,
)
