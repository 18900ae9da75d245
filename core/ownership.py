"""What is the platform's own in a project that has other things in it; nothing else is touched.

A table is ours when it has our label or the column `_batch_id`, which every raw table has. A
dataset is ours when it has our label; an empty one becomes ours by getting it. A person may give
the label to a dataset that has other tables (`deploy/gcloud.sh --adopt NAME`): these stay foreign.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

LABEL = "managed_by"
OWNER = "data-pipelines"
LABELS = {LABEL: OWNER}
# Among the options of a statement.
LABELS_SQL = f'labels = [("{LABEL}", "{OWNER}")]'
OWN_COLUMN = "_batch_id"
# Prefixes of names to propose where the configured ones are taken.
PREFIXES = ("pipelines_", *(f"pipelines{number}_" for number in range(2, 10)))


class NotOurs(Exception):
    """A dataset or table of somebody else has the name that ours would have; it was not changed."""


def is_labelled(labels: Mapping[str, str] | None) -> bool:
    return (labels or {}).get(LABEL) == OWNER


def is_own_table(labels: Mapping[str, str] | None, columns: Iterable[str] = ()) -> bool:
    """Whether it has our label or column, or is a table of our ledger as releases before the label
    made it. Going back to one of them puts its labels in the place of ours, and going forward again
    finds them."""
    given = labels or {}
    is_earlier_ledger = "columns" in given and given.get("layer") == "ledger"
    return is_labelled(labels) or OWN_COLUMN in columns or is_earlier_ledger


def foreign_dataset(name: str, free_prefix: str | None) -> str:
    """What is wrong with a dataset of somebody else, and what to do."""
    return (
        f"dataset {name} is not ours: it has tables and no label {LABEL}={OWNER}. Nothing in it was"
        f" changed. {proposal(free_prefix)}, or take it with deploy/gcloud.sh --adopt"
        f" {name.rpartition('.')[2]}"
    )


def unlabelled_dataset(name: str) -> str:
    """An empty dataset that this account may not label."""
    dataset = name.replace(".", ":", 1)
    return (
        f"dataset {name} is empty and has no label {LABEL}={OWNER}, which this account may not set."
        f" Run deploy/gcloud.sh, or bq update --set_label {LABEL}:{OWNER} {dataset}"
    )


def foreign_table(name: str, free_prefix: str | None) -> str:
    return (
        f"table {name} is not ours: it has neither the label {LABEL}={OWNER} nor a column"
        f" {OWN_COLUMN}. It was not changed. {proposal(free_prefix)}, or give that table another"
        " name"
    )


def proposal(free_prefix: str | None) -> str:
    """Names to configure; `free_prefix` is None when every name that was tried is taken."""
    if free_prefix is None:
        return "Set RAW_DATASET and DBT_DATASET_PREFIX to names that are free"
    return (
        f"Set RAW_DATASET={free_prefix}raw and DBT_DATASET_PREFIX={free_prefix}, which are free,"
        " and run python -m blocks.register"
    )
