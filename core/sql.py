"""Names and literals of the SQL that this project writes: everything is quoted or typed by code."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime

SAFE_TEXT = re.compile(r"[\w .,:;/+\-]*", re.ASCII)


@dataclass(frozen=True)
class Names:
    """Where a batch's statements read and write; every property is a quoted BigQuery name."""

    project: str
    raw_dataset: str
    staging_dataset: str

    def raw(self, table: str) -> str:
        return f"`{self.project}`.`{self.raw_dataset}`.`{table}`"

    def staged(self, table: str) -> str:
        return f"`{self.project}`.`{self.staging_dataset}`.`{table}`"


def quoted(name: str) -> str:
    """A column's name in backquotes: a source may name one `to`, which GoogleSQL reserves."""
    return f"`{name}`"


def fence_table(source: str) -> str:
    return f"_fence__{source}"


def in_effect(loads: str, source: str) -> str:
    """The condition on a line of `loads` that its batch is applied and was not undone since."""
    of_source = f"source = {literal(source)}"
    return (
        f"{of_source} AND state = 'applied' AND batch_id NOT IN "
        f"(SELECT u.batch_id FROM {loads} AS u WHERE u.{of_source} AND u.state = 'undone')"
    )


def staging_table(source: str, batch_id: str, kind: str) -> str:
    return f"{source}__{batch_id}" + ("__rejects" if kind == "rejects" else "")


def literal(value: str | int | bool | datetime | None) -> str:
    """A typed BigQuery literal. Text with anything unusual in it travels as base64."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00:00'"
    if SAFE_TEXT.fullmatch(value):
        return f"'{value}'"
    encoded = base64.b64encode(value.encode()).decode()
    return f"SAFE_CONVERT_BYTES_TO_STRING(FROM_BASE64('{encoded}'))"
