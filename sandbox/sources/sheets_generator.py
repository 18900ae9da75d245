"""Makes the stand-in's ledger: a pure function of seed, size and anchor, in Philippine time.

Types and items are those that the finance marts know. Awkward ids and cells are those that the
reference saw a naive reader ruin; a world of 40 rows has each of them.
"""

from random import Random

from sandbox.sources.sheets_grid import DAY_SECONDS, Cell, Row, check_cell, trimmed
from sandbox.sources.sheets_ledger import COLUMNS, Ledger

DAY_MS = DAY_SECONDS * 1000
SPAN_DAYS = 548  # 18 months
TYPED_WITHIN_MS = 1_800_000
MANILA_SECONDS = 8 * 3600
SERIAL_OF_EPOCH = 25_569

# type, item, to whom or from whom, lowest and highest amount, share of the rows
Kind = tuple[str, str, tuple[str, ...], int, int, int]
KINDS: list[Kind] = [
    ("EXPENSES", "WATER", ("AQUA REFILL", "Aling Nena's Sari-sari"), 25, 120, 12),
    ("EXPENSES", "LAUNDRY", ("SUDS & SHINE",), 120, 420, 9),
    ("BILLS", "ELECTRICITY BILL", ("MERALCO",), 1500, 4200, 4),
    ("EXPENSES", "FOOD", ("FOODPANDA",), 150, 900, 12),
    ("EXPENSES", "FOOD", ("GRAB",), 150, 900, 10),
    ("EXPENSES", "FOOD", ("JOLLIBEE", "Café Adriático", "MANG INASAL"), 90, 800, 10),
    ("EXPENSES", "GROCERY", ("PUREGOLD", "SM SUPERMARKET"), 300, 5200, 12),
    ("EXPENSES", "SUBSCRIPTION", ("NETFLIX", "SPOTIFY", "ICLOUD"), 49, 549, 8),
    ("EXPENSES", "CLOTHES", ("UNIQLO", "SHOPEE"), 199, 3500, 4),
    ("EXPENSES", "MASSAGE", ("LAY BARE",), 450, 1200, 3),
    ("EXPENSES", "MASSAGE CHAIR", ("SM MALL",), 50, 150, 3),
    ("EXPENSES", "TRANSPORTATION", ("GRAB", "ANGKAS", "MRT"), 13, 450, 8),
    ("BILLS", "INTERNET", ("PLDT",), 1699, 1699, 3),
    ("BILLS", "RENT", ("LANDLORD",), 12000, 12000, 3),
    ("GIFT", "BIRTHDAY", ("Niño",), 300, 2500, 2),
    ("FAMILY SUPPORT", "ALLOWANCE", ("MAMA", "PAPA"), 2000, 8000, 4),
    ("SALARY DEDUCTION", "SSS", ("EMPLOYER",), 900, 1350, 2),
    ("DONATION", "CHURCH", ("SAN AGUSTIN",), 50, 1000, 2),
    ("TAX", "WITHHOLDING", ("BIR",), 2000, 6500, 2),
    ("CASH IN", "GCASH", ("7-ELEVEN",), 10, 40, 2),
    ("LOSS", "LOST CASH", ("",), 20, 500, 1),
    ("CONVERSION LOSS", "USD TO PHP", ("WISE",), 5, 300, 2),
    ("BET LOSS", "BASKETBALL", ("KUYA BOY",), 100, 1000, 1),
    ("SALARY", "SALARY", ("EMPLOYER",), 38000, 52000, 6),
    ("BONUS", "13TH MONTH", ("EMPLOYER",), 20000, 52000, 1),
    ("INTEREST", "SAVINGS", ("BPI", "MAYA"), 1, 240, 3),
    ("CASHBACK", "CREDIT CARD", ("BPI",), 5, 400, 3),
    ("CASH OUT", "GCASH", ("PALAWAN",), 10, 300, 1),
    ("ALLOWANCE", "TRAVEL", ("EMPLOYER",), 500, 3000, 2),
    ("SELL", "OLD PHONE", ("CAROUSELL",), 1500, 9000, 1),
    ("BET WIN", "BASKETBALL", ("KUYA BOY",), 100, 1500, 1),
]
SHARES = [kind[5] for kind in KINDS]
SOURCES = ("GCASH", "BPI", "CASH", "MAYA")
NOTES = ("split with flatmates", "₱20 change kept", "Niño’s baon 🎒", "paid late", "拉麵")  # noqa: RUF001

# Texts that a guess would turn into numbers.
AWKWARD_IDS = ("007", "1e3", "0123", "1,5", "nan", "00", "+639171234567", "1.10", "TRUE", "1_000")
AWKWARD_CELLS: tuple[tuple[str, Cell], ...] = (
    ("amount", 1250.5),
    ("amount", 0.1),
    ("amount", 99999.99),
    ("amount", 1000),
    ("amount", "1,250.50"),
    ("amount", "980.00"),
    ("amount", "12,000"),
    ("notes", "#REF!"),
    ("notes", True),
    ("notes", False),
)


def generate(seed: int, size: int, anchor_ms: int) -> Ledger:
    """`size` rows of the 18 months before the anchor, by time, with a blank row amid them."""
    rng = Random(f"{seed}/ledger")
    first_ms = anchor_ms - SPAN_DAYS * DAY_MS
    moments = sorted(rng.randrange(first_ms, anchor_ms - TYPED_WITHIN_MS) for _ in range(size))
    ledger = Ledger(list(COLUMNS), [])
    kinds = KINDS[:size] + rng.choices(KINDS, SHARES, k=max(size - len(KINDS), 0))
    rng.shuffle(kinds)
    for kind, moment_ms in zip(kinds, moments, strict=True):
        ledger.rows.append(new_row(rng, ledger, moment_ms, kind))
    places = rng.sample(range(size), size)
    for place, name in zip(places, AWKWARD_IDS, strict=False):
        ledger.put(ledger.rows[place], "id", name)
    for place, (column, value) in zip(reversed(places), AWKWARD_CELLS, strict=False):
        ledger.put(ledger.rows[place], column, value)
    for row in ledger.rows[: size // 10]:
        # The two columns came later: old rows end before them.
        ledger.put(row, "created_at", None)
        ledger.put(row, "updated_at", None)
    if size > 1:
        ledger.rows.insert(size // 2, [])
    return ledger


def new_row(rng: Random, ledger: Ledger, moment_ms: int, kind: Kind | None = None) -> Row:
    """A row of what happened then, with the ledger's next number; typed in some minutes later."""
    type_, item, parties, low, high, _ = kind or rng.choices(KINDS, SHARES)[0]
    ledger.serial += 1
    day, seconds = divmod(moment_ms // 1000 + MANILA_SECONDS, DAY_SECONDS)
    typed_in = to_serial(moment_ms + rng.randrange(60_000, TYPED_WITHIN_MS))
    centavos = rng.choice((0, 0, 50, 25, 99, rng.randrange(100)))
    return trimmed(
        [
            f"L{ledger.serial:06d}",
            SERIAL_OF_EPOCH + day,
            None if rng.random() < 0.04 else seconds / DAY_SECONDS,
            type_,
            item,
            rng.choice(parties) or None,
            check_cell(rng.randint(low, high) + centavos / 100),
            "PHP",
            rng.choice(SOURCES),
            rng.choice(NOTES) if rng.random() < 0.3 else None,
            typed_in,
            None if rng.random() < 0.1 else typed_in,
        ]
    )


def to_serial(epoch_ms: int) -> float:
    """Philippine wall time as Sheets counts it: days since 1899-12-30, to the second."""
    return SERIAL_OF_EPOCH + (epoch_ms // 1000 + MANILA_SECONDS) / DAY_SECONDS
