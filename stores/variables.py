"""Settings that are declared once: each field names the variable of `.env` that fills it in.

A block of Prefect is one way to fill them in (blocks/platform.py, blocks/sources.py), the
environment another (runs/settings.py).
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import AfterValidator, BaseModel, Field, SecretStr

# The name of a field or variable, in lower case, and what is wrong with it.
Wrong = tuple[str, str]


def variable(name: str, description: str | None = None, **options: Any) -> Any:
    """A field that the variable fills in, described for a form. Without a default it has to be set;
    the value of a secret may be the path of a file."""
    return Field(description=description, json_schema_extra={"variable": name}, **options)


def matching(pattern: str, told: str) -> AfterValidator:
    """A text, if there is one, that is wholly of this form; `told` says so."""

    def check(text: str | None) -> str | None:
        if text is not None and not re.fullmatch(pattern, text):
            raise ValueError(told)
        return text

    return AfterValidator(check)


class Variables(BaseModel):
    """Settings whose fields are made by `variable`; the others have defaults."""

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Which variable, in lower case, fills in each field that one does."""
        return {
            name: str(extra["variable"]).lower()
            for name, field in cls.model_fields.items()
            if isinstance(extra := field.json_schema_extra, dict)
        }

    @classmethod
    def needs(cls) -> tuple[str, ...]:
        """The variables that have to be set."""
        found = cls.variables().items()
        return tuple(name for field, name in found if cls.model_fields[field].is_required())

    @classmethod
    def secret_variables(cls) -> list[str]:
        """The variables whose value may be the path of a file."""
        kinds = (SecretStr, SecretStr | None)
        found = cls.variables().items()
        return [name for field, name in found if cls.model_fields[field].annotation in kinds]
