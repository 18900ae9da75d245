"""How numbers, money, days and times are written: in one home time zone and one currency."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from dashboards.page import Kind

SYMBOLS = {"PHP": "₱", "USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
CENTAVO = Decimal("0.01")
NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


# Words that say how something is, and how good that is.
TONES = {
    "fresh": "good",
    "Completed": "good",
    "getting old": "warn",
    "stale": "bad",
    "Failed": "bad",
    "Crashed": "bad",
    "TimedOut": "bad",
}


@dataclass(frozen=True)
class Formats:
    """Writes values for people. `time_zone` is an IANA name, `currency` an ISO 4217 code."""

    time_zone: str = "Asia/Manila"
    currency: str = "PHP"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def symbol(self) -> str:
        return SYMBOLS.get(self.currency, f"{self.currency} ")

    def money(self, amount: Decimal | int | float | None) -> str:
        """To the centavo, such as ₱1,234.50; a minus sign comes first."""
        if amount is None:
            return NOTHING
        exact = amount if isinstance(amount, Decimal) else Decimal(str(amount))
        rounded = exact.quantize(CENTAVO, ROUND_HALF_EVEN)
        return f"{MINUS if rounded < 0 else ''}{self.symbol}{abs(rounded):,.2f}"

    def time(self, moment: datetime | None) -> str:
        """In the home time zone; a time without a zone is written as it is."""
        if moment is None:
            return NOTHING
        local = moment.astimezone(self.zone) if moment.tzinfo else moment
        return f"{local:%Y-%m-%d %H:%M}"

    def clock(self, moment: datetime) -> str:
        """What a clock at home shows then, for charts, which take every time as UTC; a time without
        a zone is taken as it is."""
        local = moment.astimezone(self.zone) if moment.tzinfo else moment
        return f"{local:%Y-%m-%dT%H:%M}Z"

    def write(self, value: Any, kind: Kind) -> str:
        """A cell."""
        if value is None or value == "":
            return NOTHING
        if isinstance(value, bool):
            return "yes" if value else "no"
        match kind:
            case "money":
                return self.money(value)
            case "time":
                return self.time(value)
            case "count":
                return f"{value:,}"
            case "number":
                return f"{value:,.1f}"
            case "share":
                return f"{value:.1%}"
            case "bytes":
                return size(value)
            case "month" if isinstance(value, date):
                return f"{value:%Y-%m}"
            case _:
                return str(value)


def size(count: int) -> str:
    """Bytes in the unit that leaves the fewest digits: 12.3 MiB."""
    amount, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"


def ago(seconds: float) -> str:
    """A span in words: 12 minutes, 3 hours, 2 days."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' * (count != 1)}"
    return "less than a minute"
