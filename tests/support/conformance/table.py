"""All rows of the table."""

from collections.abc import Sequence

from conformance import rows_body, rows_connect, rows_status
from conformance.rows import Row

ROWS: Sequence[Row] = (*rows_status.ROWS, *rows_connect.ROWS, *rows_body.ROWS)
