"""docs/install.md and docs/operations.md, followed: their commands, and which were never run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from alerting.findings import Kind
from testing.debian import Debian

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILES = (DOCS / "install.md", DOCS / "operations.md")
RUNBOOK = DOCS / "runbook.md"
# What a person does by command on the machine.
SECTIONS = (
    *("Install", "Which sources run", "Debian 13 and others", "Deploy", "Roll back", "Rotate"),
    *("Back up and restore", "Backfill", "Replay"),
)

# For a Debian without Python 3.11.
OLDER_ARCHIVE = (
    'sudo sh -c \'printf "deb http://deb.debian.org/%s main\\n" "debian bookworm" '
    '"debian-security bookworm-security" >/etc/apt/sources.list.d/bookworm.list\''
)


def read_pages() -> str:
    """Both, each of their sections under a heading of the second level."""
    return "\n".join(re.sub("^# ", "## ", file.read_text()) for file in FILES)


def commands_of(text: str, sections: Iterable[str] = SECTIONS) -> set[str]:
    """Every line of these sections' blocks, and each `sudo ...` in their text, without remarks.

    Raises KeyError for a section that is not there.
    """
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    bodies = dict(zip(parts[1::2], parts[2::2], strict=True))
    found: set[str] = set()
    for section in sections:
        blocks = re.findall(r"^```\n(.*?)^```$", bodies[section], re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines()]
        lines += re.findall(r"`(sudo [^`]+)`", bodies[section])
        found |= {line.split(" #")[0].strip() for line in lines}
    return found - {""}


def paragraph(kind: Kind) -> str:
    """What docs/runbook.md says under this heading, as one line."""
    _, text = RUNBOOK.read_text().split(f"\n## {kind}\n")
    return " ".join(re.split(r"\n##", text)[0].split())


def command(kind: Kind, start: str, **given: str) -> str:
    """The command of this paragraph that begins so, with its places filled in."""
    written: list[str] = re.findall("`([^`]+)`", paragraph(kind))
    (found,) = (one for one in written if one.startswith(start))
    for place, value in given.items():
        assert f"<{place}>" in found
        found = found.replace(f"<{place}>", value)
    return found


class Page:
    """The page's commands, which are run in `/src` of a machine by root."""

    def __init__(self) -> None:
        self.commands = commands_of(read_pages())
        self.followed: set[str] = set()

    def command(self, text: str, fill: Mapping[str, str] | None = None) -> list[str]:
        """A command that stands on the page, its examples replaced, ready to be run."""
        assert text in self.commands, f"{text!r} is on no page"
        self.followed.add(text)
        for example, value in (fill or {}).items():
            assert example in text
            text = text.replace(example, value)
        # Root needs no sudo, and the smallest Debian has none.
        words = [word for word in shlex.split(text) if word != "sudo"]
        return ["env", "--chdir=/src", *words]

    def follow(
        self,
        machine: Debian,
        text: str,
        fill: Mapping[str, str] | None = None,
        env: Sequence[str] = (),
    ) -> str:
        """What the command says. Raises AssertionError when it fails."""
        return machine.run(*self.command(text, fill), env=env)
