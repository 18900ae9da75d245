"""The finance ledger into `raw.finance__ledger`.

Every run reads the whole tab in one request. Entries that are gone from it are marked deleted,
unless only their id cell was cleared, or they are so many that the tab is hardly all there is: the
run then fails. A run with `allow_deletions` marks both.
"""

from __future__ import annotations

from core.batch import Extracted, Window
from core.ledger import Cursor
from core.request import NOTHING_ELSE, Request
from core.task import task
from runs.upload import new_batch
from sources.finance.mapping import SOURCE, TABLE, digest, read_ledger
from sources.finance.settings import Finance
from stores.clock import moment_of
from stores.google import credentials_for
from stores.http import open_http
from stores.platform import Platform
from stores.sheets import read_sheet


@task(name="extract", run_name="extract finance", retries=2, retry_delay_seconds=[10, 60])
def extract(
    platform: Platform,
    api: Finance,
    window: Window,
    cursor: Cursor,
    request: Request = NOTHING_ELSE,
) -> Extracted:
    """A committed batch of the whole tab, or one without news when it has not changed.

    A tab whose deletions are held back is taken again, so that runs fail until somebody decides,
    and so is one whose deletions are allowed.
    Raises SourceError when the tab cannot be read or its header is not the ledger's.
    """
    with open_http(SOURCE) as http:
        sheet = read_sheet(
            http,
            credentials_for(platform.google),
            base_url=str(api.base_url),
            sheet_url=api.sheet_url,
            worksheet=api.worksheet,
        )
    records = read_ledger(sheet.body, f"worksheet {api.worksheet!r}")
    moment = moment_of(platform, SOURCE, sheet.served_at).after(cursor.watermark)
    digests, count = {"sheet": digest(sheet.body)}, len(records)
    with new_batch(
        platform, TABLE, window, cursor, moment, http, allow_absent=request.allow_deletions
    ) as batch:
        is_same = cursor.known_digests == digests
        if is_same and not cursor.is_held and not request.allow_deletions:
            return batch.unchanged(known_digests=digests, source_count=count, already_seen=count)
        batch.add(records)
        return batch.commit(known_digests=digests, source_count=count)
