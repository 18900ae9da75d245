"""Makes the stand-in's ledger: a pure function of seed, size, anchor and columns, Philippine time.

Types, items and parties are those that the finance marts know. Awkward ids and cells are those that
a naive reader ruins; a world of 40 rows has each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from sandbox.sources.sheets_grid import Cell, Row, kept_cell, kept_row
from sandbox.sources.sheets_ledger import Ledger, formats_of

DAY_MS = 86_400_000
SPAN_DAYS = 548  # 18 months
TYPED_WITHIN_MS = 1_800_000
MANILA = timedelta(hours=8)
SERIAL_ZERO = datetime(1899, 12, 30, tzinfo=UTC)
STAMP = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class Kind:
    """A kind of entry: the other party and its shop, lowest and highest cost, share of the rows."""

    type: str
    item: str
    parties: tuple[tuple[str, str], ...]
    low: int
    high: int
    share: int


def kind(type_: str, item: str, parties: str, low: int, high: int, share: int) -> Kind:
    """`parties` are separated by commas, each `party` or `party @ store`."""
    pairs = [party.strip().partition(" @ ") for party in parties.split(",")]
    return Kind(type_, item, tuple((to, store) for to, _, store in pairs), low, high, share)


KINDS: list[Kind] = [
    kind("EXPENSES", "WATER", "AQUA REFILL @ AQUA REFILL,ALING NENA @ SARI-SARI", 25, 120, 12),
    kind("EXPENSES", "LAUNDRY", "SUDS & SHINE @ SUDS & SHINE", 120, 420, 9),
    kind("BILLS", "ELECTRICITY BILL", "MERALCO", 1500, 4200, 4),
    kind("EXPENSES", "FOOD", "FOODPANDA @ JOLLIBEE,FOODPANDA @ MANG INASAL", 150, 900, 12),
    kind("EXPENSES", "FOOD", "GRAB @ CAFÉ ADRIÁTICO,GRAB @ 拉麵", 150, 900, 10),
    kind("EXPENSES", "FOOD", "JOLLIBEE @ JOLLIBEE,MANG INASAL @ MANG INASAL", 90, 800, 10),
    kind("EXPENSES", "GROCERY", "PUREGOLD @ PUREGOLD,SM @ SM SUPERMARKET", 300, 5200, 12),
    kind("EXPENSES", "SUBSCRIPTION", "NETFLIX,SPOTIFY,ICLOUD", 49, 549, 8),
    kind("EXPENSES", "CLOTHES", "UNIQLO @ UNIQLO,SHOPEE @ KUYA'S UKAY", 199, 3500, 4),
    kind("EXPENSES", "MASSAGE", "LAY BARE @ LAY BARE", 450, 1200, 3),
    kind("EXPENSES", "MASSAGE CHAIR", "SM @ SM MALL", 50, 150, 3),
    kind("EXPENSES", "TRANSPORTATION", "GRAB,ANGKAS,MRT", 13, 450, 8),
    kind("BILLS", "INTERNET", "PLDT", 1699, 1699, 3),
    kind("BILLS", "RENT", "LANDLORD", 12000, 12000, 3),
    kind("GIFT", "BIRTHDAY", "NIÑO 🎒", 300, 2500, 2),
    kind("FAMILY SUPPORT", "ALLOWANCE", "MAMA,PAPA", 2000, 8000, 4),
    kind("SALARY DEDUCTION", "SSS", "EMPLOYER", 900, 1350, 2),
    kind("DONATION", "CHURCH", "SAN AGUSTIN", 50, 1000, 2),
    kind("TAX", "WITHHOLDING", "BIR", 2000, 6500, 2),
    kind("CASH IN", "GCASH", "7-ELEVEN @ 7-ELEVEN", 10, 40, 2),
    kind("LOSS", "", "", 20, 500, 1),
    kind("CONVERSION LOSS", "USD TO PHP", "WISE", 5, 300, 2),
    kind("BET LOSS", "BASKETBALL", "KUYA BOY", 100, 1000, 1),
    kind("SALARY", "", "EMPLOYER", 38000, 52000, 6),
    kind("BONUS", "13TH MONTH", "EMPLOYER", 20000, 52000, 1),
    kind("INTEREST", "", "BPI,MAYA", 1, 240, 3),
    kind("CASHBACK", "CREDIT CARD", "BPI", 5, 400, 3),
    kind("CASH OUT", "GCASH", "PALAWAN @ PALAWAN", 10, 300, 1),
    kind("ALLOWANCE", "TRAVEL", "EMPLOYER", 500, 3000, 2),
    kind("SELL", "OLD PHONE", "CAROUSELL", 1500, 9000, 1),
    kind("BET WIN", "BASKETBALL", "KUYA BOY", 100, 1500, 1),
]
SHARES = [one.share for one in KINDS]
ACCOUNTS = ("GCASH", "BPI", "CASH", "MAYA")

# Texts that a guess would turn into numbers, and numbers that are ids.
AWKWARD_IDS: tuple[Cell, ...] = (
    *("007", "1e3", "0123", "1,5", "nan", "00", "+639171234567", "1.10", "TRUE", "1_000"),
    *(639171234567, 42),
)
# Of one row each: what people and formulas leave in cells.
AWKWARD_CELLS: tuple[dict[str, Cell], ...] = (
    {"cost": 1250.5},
    {"cost": 0.1},
    {"cost": 99999.99},
    {"cost": -120.75},
    {"cost": 100 / 3},
    {"cost": 0.1 + 0.2},
    {"cost": 250.25 * 1.12},
    {"cost": None},
    {"cost": "1,250.50"},
    {"cost": "980.00"},
    {"cost": "12,000"},
    {"month": 2, "day": 30},
    {"store": "#REF!"},
    {"store": True},
)
# What a tidy ledger does not have; `untidy` adds a row of each, and a line of totals.
UNTIDY_CELLS: tuple[dict[str, Cell], ...] = (
    {"day": 12.5},
    {"day": "12"},
    {"year": None},
    {"cost": 1e20},
    {"cost": 1e300},
    {"cost": 1e-12},
    {"cost": "#VALUE!"},
    {"cost": True},
    {"created_at": 45316.5, "updated_at": 1e-05},
)


def generate(
    seed: int, size: int, anchor_ms: int, columns: Sequence[Cell], is_untidy: bool
) -> Ledger:
    """`size` rows of the 18 months before the anchor, by time, with a blank row amid them.

    `columns` are the header, in any order; what the ledger has nothing for is filled with words. A
    ledger that is untidy has odd cells in plenty, and a hundredth of its rows has no id.
    """
    rng = Random(f"{seed}/ledger")
    first_ms = anchor_ms - SPAN_DAYS * DAY_MS
    moments = sorted(rng.randrange(first_ms, anchor_ms - TYPED_WITHIN_MS) for _ in range(size))
    header = kept_row(list(columns))
    ledger = Ledger(header, [], formats_of(header))
    kinds = KINDS[:size] + rng.choices(KINDS, SHARES, k=max(size - len(KINDS), 0))
    rng.shuffle(kinds)
    for one, moment_ms in zip(kinds, moments, strict=True):
        ledger.rows.append(new_row(rng, ledger, moment_ms, one))
    places = rng.sample(range(size), size)
    for place, name in zip(places, AWKWARD_IDS, strict=False):
        ledger.put(ledger.rows[place], "id", name)
    awkward = (*AWKWARD_CELLS, *UNTIDY_CELLS) if is_untidy else AWKWARD_CELLS
    for place, cells in zip(reversed(places), awkward, strict=False):
        for column, value in cells.items():
            ledger.put(ledger.rows[place], column, value)
    for row in ledger.rows[: size // 10]:
        # The two columns came later: old rows lack them.
        ledger.put(row, "created_at", None)
        ledger.put(row, "updated_at", None)
    if is_untidy:
        for place in rng.sample(places, size // 200):
            ledger.rows.insert(place, _without_id(rng, ledger))
        ledger.rows.append(_total(ledger))
    if size > 1:
        ledger.rows.insert(size // 2, [])
    return ledger


def new_row(rng: Random, ledger: Ledger, moment_ms: int, one: Kind | None = None) -> Row:
    """A row of what happened then, with the ledger's next number; typed in some minutes later."""
    one = one or rng.choices(KINDS, SHARES)[0]
    ledger.serial += 1
    day = wall_time(moment_ms)
    typed_in = stamp(rng, moment_ms + rng.randrange(60_000, TYPED_WITHIN_MS))
    centavos = rng.choice((0, 0, 50, 25, 99, rng.randrange(100)))
    to, store = rng.choice(one.parties)
    entry: dict[str, Cell] = {
        "id": f"L{ledger.serial:06d}",
        "year": day.year,
        "month": day.month,
        "day": day.day,
        "item": one.item or None,
        "type": one.type,
        "cost": kept_cell(rng.randint(one.low, one.high) + centavos / 100),
        "to": to or None,
        "store": store or None,
        "source": rng.choice(ACCOUNTS),
        "created_at": typed_in,
        "updated_at": None if rng.random() < 0.1 else typed_in,
        "posted_date": f"{day + timedelta(days=1):%Y-%m-%d}" if rng.random() < 0.7 else None,
        "receipt": f"r/{ledger.serial}.jpg" if rng.random() < 0.2 else None,
        "solo_part": rng.choice(("1/2", "1/3", "2/3")) if rng.random() < 0.1 else None,
    }
    row = ledger.row_of(entry)
    row += [None] * (len(ledger.header) - len(row))
    for place, name in enumerate(ledger.names()):
        if name not in entry and rng.random() < 0.3:
            row[place] = rng.choice(("₱20 change kept", "paid late", 7, 0.5, True))
    return kept_row(row)


def wall_time(epoch_ms: int) -> datetime:
    """Philippine wall time, to the second."""
    return datetime.fromtimestamp(epoch_ms // 1000, UTC) + MANILA


def stamp(rng: Random, epoch_ms: int) -> Cell:
    """What the sheet's script writes: a text; now and then Sheets takes it for a date."""
    at = wall_time(epoch_ms)
    if rng.random() < 0.1:
        return kept_cell((at - SERIAL_ZERO) / timedelta(days=1))
    return f"{at:{STAMP}}"


def _without_id(rng: Random, ledger: Ledger) -> Row:
    """What somebody typed below the script's notice: a copy of an entry, without its id."""
    row = list(rng.choice([row for row in ledger.rows if row]))
    ledger.put(row, "id", None)
    return row


def _total(ledger: Ledger) -> Row:
    costs = [ledger.get(row, "cost") for row in ledger.rows if row]
    known = [cost for cost in costs if isinstance(cost, int | float) and abs(cost) < 1e9]
    return ledger.row_of({"item": "TOTAL", "cost": kept_cell(float(sum(known)))})
