"""What the settings of all sources have in common.

`sources/<source>/settings.py` says as SETTINGS what a run of the source is configured with, and
which variable of `.env` fills in each field. A block of Prefect is one way to fill them in
(blocks/sources.py), the environment another (runs/settings.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, Field, HttpUrl, SecretStr

from stores.asking import Check
from stores.settings import LANDING_GCS, GoogleAccount, LandingName

# The name of a field or variable, in lower case, and what is wrong with it.
Wrong = tuple[str, str]
BASE_URL, LANDING = "base_url", "landing"


def variable(name: str, description: str, **options: Any) -> Any:
    """A field that the variable fills in. Without a default it has to be set for the source to run;
    the value of a secret may be the path of a file."""
    return Field(description=description, json_schema_extra={"variable": name}, **options)


def base_url(name: str, address: str) -> Any:
    """Where the service answers."""
    about = "Address of the service; a path prefix is kept."
    return variable(name, about, default=HttpUrl(address))


def landing(name: str, default: LandingName = LANDING_GCS) -> Any:
    """Where new batches go. From `.env` to S3 by itself only if there is a bucket."""
    about = "Bucket block for new batches; those that wait in another are loaded too."
    return variable(name, about, default=default)


class SourceSettings(BaseModel):
    """A source: where it answers, and the bucket that its new batches go to."""

    # How a form calls it, and what it is.
    title: ClassVar[str]
    about: ClassVar[str]
    # Whether the source is read with the credentials of Google's.
    needs_google: ClassVar[bool] = False

    base_url: HttpUrl
    landing: LandingName

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Which variable, in lower case, fills in each field that one does."""
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return {
            name: str(extra["variable"]).lower()
            for name, extra in extras.items()
            if isinstance(extra, Mapping)
        }

    @classmethod
    def needs(cls) -> tuple[str, ...]:
        """The variables that have to be set before the source can run."""
        found = cls.variables().items()
        return tuple(name for field, name in found if cls.model_fields[field].is_required())

    @classmethod
    def secret_variables(cls) -> list[str]:
        """The variables whose value may be the path of a file."""
        kinds = (SecretStr, SecretStr | None)
        found = cls.variables().items()
        return [name for field, name in found if cls.model_fields[field].annotation in kinds]

    @classmethod
    def typed_variables(cls) -> dict[str, tuple[Any, Any]]:
        """Type and default of each variable: what has to be set may be missing as well."""
        found = dict[str, tuple[Any, Any]]()
        for name, one in cls.variables().items():
            field = cls.model_fields[name]
            kind: Any = field.annotation
            if field.metadata:
                kind = Annotated[(kind, *field.metadata)]
            default = LANDING_GCS if name == LANDING else field.default
            found[one] = (kind | None, None) if field.is_required() else (kind, default)
        return found

    @classmethod
    def from_variables(cls, given: Mapping[str, Any]) -> Self:
        """The settings that the variables describe, by their names in lower case."""
        return cls(**{field: given[name] for field, name in cls.variables().items()})

    @classmethod
    def faults(cls, given: Mapping[str, Any]) -> list[Wrong]:
        """What is wrong with fields that are compared with each other."""
        return []

    def checks(self, google: GoogleAccount | None) -> list[tuple[str, Check]]:
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


def matching(pattern: str, told: str) -> AfterValidator:
    """A text that is wholly of this form; `told` says so."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(told)
        return text

    return AfterValidator(check)
