"""What `.env` says of each source, plain and typed: `Variables` of the module named as the source.

blocks/settings.py has those of all sources together.
"""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import AfterValidator, BaseModel, SecretStr

from blocks.source import LANDING_GCS, LandingName

# The name of a variable, in lower case, and what is wrong with it.
Wrong = tuple[str, str]


class SourceVariables(BaseModel):
    """The variables of a source, in lower case.

    One name ends with `_base_url`: where the source answers. One ends with `_landing`: where its
    new batches go.
    """

    # Which have to be set before the source can run. All else has a default.
    needs: ClassVar[tuple[str, ...]] = ()
    # Where new batches go unless it is set: to S3 only if there is a bucket, else to GCS.
    lands_in: ClassVar[LandingName] = LANDING_GCS

    def faults(self) -> list[Wrong]:
        """What is wrong with limits that are compared with each other."""
        return []

    @classmethod
    def ending(cls, suffix: str) -> str:
        """The name that ends so. Raises ValueError unless there is one."""
        (name,) = (name for name in cls.model_fields if name.endswith(suffix))
        return name

    @classmethod
    def secrets(cls) -> list[str]:
        """The secrets, whose value may be the path of a file."""
        fields = cls.model_fields.items()
        return [name for name, field in fields if field.annotation == SecretStr | None]


def given(key: SecretStr | None) -> SecretStr:
    """A key that is among what its source needs. Raises ValueError when it is not set."""
    if key is None:
        raise ValueError("the key is not set")
    return key


def matching(pattern: str, told: str) -> AfterValidator:
    """A text that is wholly of this form; `told` says so."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(told)
        return text

    return AfterValidator(check)
