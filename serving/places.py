"""Where what people look at is on disk, below one folder.

<root>/snapshots/public, /private    versions of the marts (serving/snapshot.py)
<root>/pages/public, /private        the pages that a web server serves
<root>/pending/<source>              a build that is not exported yet, and why
<root>/exported/<source>             when its last export ended
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from serving.contract import AUDIENCES, Audience
from serving.snapshot import write_durably


@dataclass(frozen=True)
class Pending:
    """A source whose last build is not in the snapshots. `cause` is empty where nothing failed."""

    source: str
    since: datetime
    cause: str


@dataclass(frozen=True)
class Places:
    """The folders below `root`. Private ones are for their owner and group only."""

    root: Path

    def snapshot(self, audience: Audience) -> Path:
        return self.root / "snapshots" / audience

    def pages(self, audience: Audience) -> Path:
        return self.root / "pages" / audience

    def make(self) -> None:
        """All folders exist, private ones with mode 0750."""
        for audience in AUDIENCES:
            for folder in (self.snapshot(audience), self.pages(audience)):
                if not folder.exists():
                    folder.mkdir(parents=True)
                    folder.chmod(0o750 if audience == "private" else 0o755)
        self._pending.mkdir(exist_ok=True)
        self._exported.mkdir(exist_ok=True)

    @property
    def _pending(self) -> Path:
        return self.root / "pending"

    @property
    def _exported(self) -> Path:
        return self.root / "exported"

    def mark(self, source: str) -> None:
        """Say that a build of the source is to be exported, unless that is said already."""
        self.make()
        file = self._pending / source
        if not file.exists():
            write_durably(file, f"{datetime.now(UTC).isoformat()}\n".encode())

    def mark_failed(self, source: str, cause: str) -> None:
        """Keep since when the source waits, with the cause of the last failure."""
        since = next((one.since for one in self.pending() if one.source == source), None)
        since = since or datetime.now(UTC)
        write_durably(self._pending / source, f"{since.isoformat()}\n{cause}".encode())

    def done(self, source: str) -> None:
        """The source's last build is in the snapshots."""
        write_durably(self._exported / source, f"{datetime.now(UTC).isoformat()}\n".encode())
        (self._pending / source).unlink(missing_ok=True)

    def was_exported(self, source: str) -> bool:
        """Whether it ever was: a folder that was configured later than its marts were built."""
        return (self._exported / source).exists()

    def pending(self) -> list[Pending]:
        """What waits, by source."""
        found = []
        for file in sorted(self._pending.glob("[!.]*")):
            since, _, cause = file.read_text().partition("\n")
            found.append(Pending(file.name, datetime.fromisoformat(since), cause.strip()))
        return found
