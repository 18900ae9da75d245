"""`python -m sandbox.query 'SELECT ...'`: rows of a query of the running demo, as a table.

The same three lines of Google's client ask any BigQuery: see docs/changing.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from itertools import islice
from pathlib import Path

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from requests import RequestException
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sandbox.stack import DEFAULT_STATE, read_env

# More are counted, and neither read nor shown.
MOST_ROWS = 100


def main() -> int:
    """1 when the demo does not run or BigQuery refuses the query."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.query")
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, metavar="DIR")
    parser.add_argument("sql", metavar="SQL")
    options = parser.parse_args()
    try:
        os.environ.update(read_env(options.state))
        client = bigquery.Client.from_service_account_json(os.environ["GCP_SERVICE_ACCOUNT_FILE"])
        # A demo that was stopped does not come back by waiting for it.
        rows = client.query(options.sql, retry=None, job_retry=None).result()
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except GoogleAPIError as error:
        print(f"error: {getattr(error, 'message', '') or error}", file=sys.stderr)
        return 1
    except (GoogleAuthError, RequestException):
        print("error: the demo does not run: make demo", file=sys.stderr)
        return 1
    show(rows, Console(highlight=False))
    return 0


def show(rows: bigquery.table.RowIterator, console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows.schema:
        is_number = column.field_type in ("INTEGER", "FLOAT", "NUMERIC", "BIGNUMERIC")
        table.add_column(column.name, justify="right" if is_number else "left", overflow="fold")
    for row in islice(rows, MOST_ROWS):
        table.add_row(*("" if value is None else escape(str(value)) for value in row.values()))
    console.print(table)
    total = rows.total_rows or 0
    more = f", the first {MOST_ROWS} shown" if total > MOST_ROWS else ""
    console.print(f"{total:,} {'row' if total == 1 else 'rows'}{more}")


if __name__ == "__main__":
    sys.exit(main())
