"""What the environment and `.env` say: keys from the files that they name, and faults in words."""

from __future__ import annotations

import csv
import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from stores.federation import is_federation
from stores.variables import Wrong

ROOT = Path(__file__).resolve().parent.parent
# Names another file than `.env` beside the code; empty: no file is read.
ENV_FILE = "PIPELINES_ENV_FILE"

# The columns of the file that Amazon's console gives out.
AWS_COLUMNS = {
    "aws_access_key_id": "access key id",
    "aws_secret_access_key": "secret access key",
}
KEY_FILE_SUFFIXES = (".txt", ".csv", ".json", ".key", ".pem")

# What pydantic says, in words for a person; anything else is said as pydantic has it.
WORDS = {
    "missing": "is not set",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "literal_error": "must be {expected}",
    "url_parsing": "must be an address such as https://host.example",
    "url_scheme": "must be an address such as https://host.example",
    "date_from_datetime_parsing": "must be a day such as 2026-01-31",
    "date_parsing": "must be a day such as 2026-01-31",
}


class Misconfigured(Exception):
    """Variables are missing or wrong; the message has a line for each, without any value.

    No ValueError: pydantic would make one of its own of it.
    """


def misconfigured(faults: Iterable[Wrong]) -> Misconfigured:
    """Of all that is wrong, and where to set it."""
    lines = [": ".join(filter(None, [name.upper(), told])) for name, told in dict.fromkeys(faults)]
    file = env_file()
    where = f"in the environment or in {file}" if file else "in the environment"
    return Misconfigured("\n".join([*lines, f"Set these {where} (.env.example explains them)."]))


def reason(error: Exception) -> str:
    """Why a file cannot be read; it never has what is in the file."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not a text"
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return str(error)


def in_words(problem: Mapping[str, Any]) -> str:
    """What is wrong with a field, without its value."""
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if words := WORDS.get(problem["type"]):
        limits = problem.get("ctx", {}).items()
        return words.format(**{name: _plain(value) for name, value in limits})
    return str(problem["msg"])


def _plain(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def with_files_read(
    data: Mapping[str, Any], keys: Iterable[str]
) -> tuple[dict[str, Any], list[Wrong]]:
    """What is set of `data`, with `keys` read from the files that they name, and what is wrong with
    those files. A blank text sets nothing."""
    data = {name: one for name, one in data.items() if one is not None and str(one).strip()}
    given, faults = dict(data), list[Wrong]()
    for name in keys:
        value = data.get(name)
        if not isinstance(value, str) or (path := file_named(name, value)) is None:
            continue
        try:
            given |= read_key(name, path, data)
        except (OSError, ValueError) as error:
            faults.append((name, f"this is a path that cannot be read: {path} ({reason(error)})"))
    if account := data.get("gcp_service_account_file"):
        path = ROOT / Path(account).expanduser()
        try:
            check_account(path)
        except (OSError, ValueError) as error:
            faults.append(("gcp_service_account_file", f"{path}: {reason(error)}"))
        given["gcp_service_account_file"] = path
    return given, faults


def file_named(name: str, value: str) -> Path | None:
    """The file that a key's value names: one that is there, or by its form can only be a path.

    Amazon's secrets may begin with a slash but have no dot; a password may be anything.
    """
    try:
        path = ROOT / Path(value).expanduser()
        if path.is_file():
            return path
    except (OSError, ValueError, RuntimeError):
        return None
    if name in ("alert_email_password", "slack_webhook_url"):
        return None
    starts = ("~/", "./", "../") if name == "aws_secret_access_key" else ("/", "~/", "./", "../")
    is_path = value.startswith(starts) or path.suffix.lower() in KEY_FILE_SUFFIXES
    return path if is_path else None


def read_key(name: str, path: Path, data: Mapping[str, Any]) -> dict[str, str]:
    """What a key's file holds. Raises OSError, and ValueError when there is no key in it."""
    with path.open(encoding="utf-8-sig") as file:
        lines = [line.strip() for line in file if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    if name not in AWS_COLUMNS or "," not in lines[0]:
        return {name: lines[0]}
    header, *rows = ([cell.strip() for cell in row] for row in csv.reader(lines))
    columns = [column.lower() for column in header]
    if not rows or len(rows[0]) != len(columns) or not {*AWS_COLUMNS.values()} <= {*columns}:
        raise ValueError("it has no row under 'Access key ID,Secret access key'")
    row = dict(zip(columns, rows[0], strict=True))
    # The file has both: the other one need not be set.
    return {
        one: row[column] for one, column in AWS_COLUMNS.items() if one == name or not data.get(one)
    }


def check_account(path: Path) -> None:
    """Raise OSError or ValueError unless the file is a service account's key or a federation's."""
    try:
        info = json.loads(path.read_text())
    except ValueError:
        info = None
    if not isinstance(info, dict):
        info = {}
    if is_federation(info):
        texts = ("audience", "subject_token_type", "token_url")
        is_whole = isinstance(info.get("credential_source"), dict)
    else:
        texts, is_whole = ("client_email", "private_key", "token_uri"), True
    if not (is_whole and all(isinstance(info.get(name), str) for name in texts)):
        raise ValueError(
            "is not the key file of a service account, which is JSON with client_email, "
            "private_key and token_uri, nor a file of workload identity federation, which has "
            "audience, subject_token_type, token_url and credential_source"
        )


def env_file() -> Path | None:
    """The `.env` that is read, whether it is there or not; None for no file at all."""
    named = os.environ.get(ENV_FILE)
    if named is None:
        return ROOT / ".env"
    return Path(named).expanduser() if named else None


def variables_set() -> dict[str, str]:
    """What the environment and `.env` set, by names in lower case; the environment wins.

    Raises Misconfigured when the file cannot be read.
    """
    file = env_file()
    try:
        named = dotenv_values(file) if file and file.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} cannot be read: {reason(error)}") from None
    return {
        name.lower(): value for some in (named, os.environ) for name, value in some.items() if value
    }


def unknown_variables() -> Iterable[str]:
    """What `.env` sets and nothing reads, in words."""
    file = env_file()
    if file is None or not file.is_file():
        return
    try:
        named = dotenv_values(file, interpolate=False)
    except (OSError, UnicodeDecodeError):
        # Whoever reads the settings says so.
        return
    example = (ROOT / ".env.example").read_text()
    known = {*re.findall(r"^#? ?([A-Z0-9_]+)=", example, re.MULTILINE)}
    for name in named:
        if name.upper() in known or name.upper().startswith("PREFECT_"):
            continue
        close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.85)
        meant = f"; did you mean {close[0]}?" if close else ""
        yield f"{name} in {file} is no variable of this project and has no effect{meant}"
