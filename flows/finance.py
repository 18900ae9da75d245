"""The finance ledger into `raw.finance__ledger`.

Every run reads the whole tab in one request. Entries that are gone from it are marked deleted,
unless only their id cell was cleared, or they are so many that the tab is hardly all there is: the
run then fails. A run with `allow_deletions` marks both.

Requires: blocks gcp-credentials/gcp, gcs-bucket/landing-gcs (s3-bucket/landing-s3 to land there),
warehouse/warehouse and finance/finance (`python -m blocks.register`), and the sheet shared with the
service account.
"""

from __future__ import annotations

import sys

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.platform import load_platform
from blocks.sources import load_settings
from core.batch import Extracted, Window
from core.ledger import Cursor
from core.task import task
from sources.finance.mapping import SOURCE, TABLE, digest, read_ledger
from sources.finance.settings import Finance
from stores.google import credentials_for
from tasks.clock import moment_of
from tasks.platform import Platform, connect
from tasks.report import Outcome, final_state, run_name
from tasks.run import run_source
from tasks.sheets import read_sheet
from tasks.upload import new_batch


@task(name="extract", run_name="extract finance", retries=2, retry_delay_seconds=[10, 60])
def extract(
    platform: Platform, api: Finance, window: Window, cursor: Cursor, allow_deletions: bool
) -> Extracted:
    """A committed batch of the whole tab, or one without news when it has not changed.

    A tab whose deletions are held back is taken again, so that runs fail until somebody decides,
    and so is one whose deletions are allowed.
    Raises SourceError when the tab cannot be read or its header is not the ledger's.
    """
    sheet = read_sheet(
        SOURCE,
        credentials_for(platform.google),
        base_url=str(api.base_url),
        sheet_url=api.sheet_url,
        worksheet=api.worksheet,
    )
    records = read_ledger(sheet.rows, f"worksheet {api.worksheet!r}")
    moment = moment_of(platform, SOURCE, sheet.served_at).after(cursor.watermark)
    seen, count = {"sheet": digest(sheet.rows)}, len(records)
    with new_batch(
        platform, TABLE, window, cursor, moment, sheet, allow_absent=allow_deletions
    ) as batch:
        if cursor.seen == seen and not cursor.is_held and not allow_deletions:
            return batch.unchanged(seen=seen, source_count=count, already_seen=count)
        batch.add(records)
        return batch.commit(seen=seen, source_count=count)


def run(platform: Platform, api: Finance, allow_deletions: bool) -> Outcome:
    """One run: what differs from the last read is found by comparing."""
    return run_source(
        platform,
        TABLE,
        "incremental",
        lambda cursor: Window(cursor.watermark),
        lambda window, cursor: extract(platform, api, window, cursor, allow_deletions),
    )


@flow(name="finance", flow_run_name=run_name, validate_parameters=True)
def finance(allow_deletions: bool = False) -> State:
    """Load the ledger as it stands.

    Args:
        allow_deletions: Mark entries deleted that are gone from the sheet, however many they are.
    """
    api = load_settings(Finance, SOURCE)
    return final_state(run(connect(load_platform(), api.landing), api, allow_deletions))


if __name__ == "__main__":
    from tasks.by_hand import by_hand

    sys.exit(
        by_hand(
            TABLE,
            "The finance ledger as it stands.",
            lambda platform, api, options: run(platform, api, options.allow_deletions),
        )
    )
