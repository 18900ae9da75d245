"""What the settings of all sources have in common.

`sources/<source>/settings.py` says as SETTINGS what a run of the source is configured with, and
which variable of `.env` fills in each field.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

from pydantic import HttpUrl

from stores.asking import Check
from stores.settings import LANDING_GCS, GoogleAccount, LandingName
from stores.variables import Variables, variable

BASE_URL, LANDING = "base_url", "landing"


def base_url(name: str, address: str) -> Any:
    """Where the service answers."""
    about = "Address of the service; a path prefix is kept."
    return variable(name, about, default=HttpUrl(address))


def landing(name: str, default: LandingName = LANDING_GCS) -> Any:
    """Where new batches go. From `.env` to S3 by itself only if there is a bucket."""
    about = "Bucket block for new batches; those that wait in another are loaded too."
    return variable(name, about, default=default)


class SourceSettings(Variables):
    """A source: where it answers, and the bucket that its new batches go to."""

    # How a form calls it, and what it is.
    title: ClassVar[str]
    about: ClassVar[str]
    # Whether the source is read with the credentials of Google's.
    needs_google: ClassVar[bool] = False

    base_url: HttpUrl
    landing: LandingName

    def checks(self, google: GoogleAccount) -> list[tuple[str, Check]]:
        """What `--check` tries, each under a name: what a run will ask."""
        raise NotImplementedError

    def plan(self) -> int | None:
        """How many requests there are in a calendar month (UTC); None for a source without."""
        return None

    def newest_event_hours(self) -> tuple[float, float] | None:
        """Without news for so many hours it is late, and stale; None: the dbt source says it."""
        return None

    def address(self, path: str) -> str:
        """The base URL and a path with one slash between; a prefix in the base is kept."""
        return f"{str(self.base_url).rstrip('/')}/{path.lstrip('/')}"


def settings_of(source: str) -> type[SourceSettings]:
    """What a source is configured with; only its own module is imported."""
    kind: type[SourceSettings] = import_module(f"sources.{source}.settings").SETTINGS
    return kind
