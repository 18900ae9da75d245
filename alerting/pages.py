"""Whether the pages show what was built."""

from __future__ import annotations

from datetime import datetime, timedelta

from alerting.findings import Finding
from runs.serve import serving_of
from stores.settings import PlatformSettings

# From a build to its pages seconds pass; a run that waits for others may take minutes.
LATE_AFTER = timedelta(minutes=30)


def serving_findings(blocks: PlatformSettings, now: datetime) -> list[Finding]:
    """Sources whose last build is not on the pages although it was made a while ago."""
    serving = serving_of(blocks)
    if serving is None:
        return []
    return [
        Finding(
            key=f"pages:{one.source}",
            kind="pages",
            scope="serving",
            title=f"{one.source}: the pages show older data",
            cause=one.cause
            or "the last build was not exported; the next run of the source does it",
            source=one.source,
            window=f"since {one.since:%Y-%m-%d %H:%M} UTC",
        )
        for one in serving.places.pending()
        if now - one.since > LATE_AFTER
    ]
