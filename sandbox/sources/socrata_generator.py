"""Makes the stand-in's vehicles: a pure function of seed, size and the first version's day.

Vehicles, people and bases are invented. What is awkward in them is real: spellings that drift (an
old one says `FOR HIRE VEHICLE`, `BLACK-CAR` and `(718)555-0123`), a website that is an e-mail,
fields that come and go, and names and addresses that are hard on a CSV parser.

A vehicle is a row of codes. A code is a whole number that points into a pool of texts, so that a
million vehicles take 44 MB and copying them is cheap; license and plate are numbers themselves.
"""

from array import array
from collections.abc import Iterable
from datetime import date, timedelta
from itertools import accumulate, compress
from math import gcd
from random import Random

Text = str | None

CODES = (
    *("license", "plate", "name", "base", "expires", "certified", "make", "year"),
    *("wheelchair", "drive", "reason", "permit"),
)
LICENSE_FIRST = 5_000_000
LICENSES = 5_000_000
PLATES = 1_000_000
BASES = 600
FIRST_DAY = date(2000, 1, 1)
DAYS = 22_000
FIRST_YEAR = 1998
YEARS = 45
# Every so many-th base has an address of two lines, or something else than text for a website.
ODD_BASE = 40

WORDS = (
    *(
        "HARBOR",
        "LUCKY",
        "METRO",
        "SUNSET",
        "QUEENS",
        "ATLAS",
        "FIVE BOROUGH",
        "ORCHID",
        "NORTHERN",
    ),
    *(
        "SILVER",
        "EXPRESS",
        "PIONEER",
        "RIVERSIDE",
        "STARLIGHT",
        "CROWN",
        "BRIDGE",
        "EMPIRE",
        "NOVA",
    ),
)
KINDS = ("CAR SERVICE", "LIMO", "TRANSPORTATION", "RIDE", "LUXURY", "DISPATCH")
FORMS = ("INC.", "LLC", "CORP", ", INC", "CO.")
STREETS = ("JAMAICA AVENUE", "BEDFORD   STREET", "SKILLMAN AVE", "EAST TREMONT AVE", "VAN DAM ST")
BOROUGHS = ("BRONX NY 10461", "BROOKLYN NY 11211", "LIC NY 11101", "NEW YORK NY 10035")
SURNAMES = (
    *("RAHMAN", "DIALLO", "SINGH", "CHOWDHURY", "RODRIGUEZ", "PEREZ", "KHAN", "OUEDRAOGO", "CHEN"),
    *("TENZIN", "HOSSAIN", "BARRY", "IVANOV", "ALVAREZ", "SHERPA", "ISLAM", "MAMADOU", "LOPEZ"),
    *("NGUYEN", "ABDELRAHMAN", "KIM", "BAH", "TORRES", "GURUNG", "MARTE", "WILLIAMS"),
)
GIVEN = (
    *("MOHAMMED", "ANA", "LUIS", "FATOU", "WEI", "JASPREET", "OLGA", "PEMBA", "CARLOS", "AMINA"),
    *("JOSEPH", "MD", "RAFAEL", "SVETLANA", "IBRAHIM", "GRACE", "TASHI", "OMAR", "ELENA"),
)
AWKWARD_NAMES = (
    'PEÑA, JOSÉ "PEPE"',
    "Ōta, Ümit",
    "王小明",
    "CAB 🚕 COMPANY",
    'THE "BEST" CAR, INC.',
    '"',
    ",",
    "FIRST LINE\nSECOND LINE",
    'CARRIAGE RETURN,\r\n"QUOTED" AFTER IT',
    "BACK\\SLASH \\n LLC",
    "TAB\tBED",
    "LINE\u2028SEPARATOR",
    "  PADDED  ",
    "O'DONNELL & SONS <CO>",
    "=SUM(1,2)",
    "NULL",
    "NA",
)
AWKWARD_SHARE = 0.03
# Texts and how often each comes; a text that is None is a null.
WHEELCHAIR: dict[Text, int] = {None: 84, "PILOT": 10, "WAV": 6}
DRIVE: dict[Text, int] = {None: 52, "HYB": 36, "BEV": 7, "WAV": 4, "CNG": 1}
REASON: dict[Text, int] = {"G": 98, None: 1, "R": 1}
VIN_STARTS = (
    *("4TZZ1ABC0LU", "5NZZ3DEF7PH", "JTZZ9GHJ2KX", "KMZZ5KLM4MA", "1FZZ7NPR8JU", "3NZZ0STU1GL"),
    *("WDZZ6VWX3NB", "2HZZ2YAB5HR"),
)


class Fleet:
    """A dataset's rows, a column of 32-bit codes each, and how many licenses were ever given."""

    def __init__(self) -> None:
        self.codes = {name: array("i") for name in CODES}
        self.licenses = 0

    def __len__(self) -> int:
        return len(self.codes["license"])

    def copy(self) -> "Fleet":
        """Another fleet of the same rows."""
        fleet = Fleet()
        fleet.codes = {name: column[:] for name, column in self.codes.items()}
        fleet.licenses = self.licenses
        return fleet

    def remove(self, rows: Iterable[int]) -> None:
        """Drop rows by their positions; the others close up."""
        keeps = bytearray(b"\1") * len(self)
        for row in rows:
            keeps[row] = 0
        self.codes = {name: array("i", compress(col, keeps)) for name, col in self.codes.items()}


def generate(seed: int, size: int, day: date) -> Fleet:
    """A fleet of a day. The license of its first row stands twice."""
    fleet = Fleet()
    join(fleet, Random(f"{seed}/vehicles"), seed, size, day)
    if size > 1:
        fleet.codes["license"][1] = fleet.codes["license"][0]
    return fleet


def join(fleet: Fleet, rng: Random, seed: int, many: int, day: date) -> None:
    """Add vehicles whose licenses nobody had before."""
    today, numbers = day_code(day), range(fleet.licenses, fleet.licenses + many)
    fleet.licenses += many
    # One in seven was never certified.
    certified = [0] * 70 + [max(today - rng.randrange(3000), 1) for _ in range(430)]
    new = {
        "license": (LICENSE_FIRST + n for n in _spread(numbers, LICENSES, f"{seed}/licenses")),
        "plate": _spread(numbers, PLATES, f"{seed}/plates"),
        "name": rng.choices(range(len(names())), cum_weights=NAME_WEIGHTS, k=many),
        # One in four is still spelled the old way.
        "base": rng.choices([2 * n + (v == 0) for n in range(BASES) for v in range(4)], k=many),
        "expires": rng.choices([min(today + n, DAYS) for n in range(900)], k=many),
        "certified": rng.choices(certified, k=many),
        "make": rng.choices(range(len(VIN_STARTS)), k=many),
        "year": rng.choices([0, *range(12, 1 + day.year - FIRST_YEAR)], k=many),
        "wheelchair": _weighted(rng, WHEELCHAIR, many),
        "drive": _weighted(rng, DRIVE, many),
        "reason": _weighted(rng, REASON, many),
        "permit": rng.choices([*[0] * 50, *range(200)], k=many),
    }
    for name in CODES:
        fleet.codes[name].extend(new[name])


def day_code(day: date) -> int:
    """The code of a day, as near as the pool has it; 0 is none."""
    return min(max((day - FIRST_DAY).days + 1, 1), DAYS)


def names() -> list[str]:
    """The pool of names, awkward ones first."""
    people = [f"{surname}, {given}" for surname in SURNAMES for given in GIVEN]
    more = [f"{surname},{given},A" for surname in SURNAMES for given in GIVEN]
    firms = [f"{word} {kind} {form}" for word in WORDS for kind in KINDS for form in FORMS]
    return [*AWKWARD_NAMES, *people, *more, *firms]


def _name_weights() -> list[float]:
    many, awkward = len(names()), len(AWKWARD_NAMES)
    rare, common = AWKWARD_SHARE / awkward, (1 - AWKWARD_SHARE) / (many - awkward)
    return list(accumulate([rare] * awkward + [common] * (many - awkward)))


NAME_WEIGHTS = _name_weights()


def pools(seed: int) -> dict[str, tuple[str, list[Text]]]:
    """For each column of coded text: its code's name, and the texts by code."""
    days = [(FIRST_DAY + timedelta(n)).isoformat() + "T00:00:00.000" for n in range(DAYS)]
    found: dict[str, tuple[str, list[Text]]] = {
        "name": ("name", [*names()]),
        "expiration_date": ("expires", [None, *days]),
        "certification_date": ("certified", [None, *days]),
        "hack_up_date": ("certified", [None, *days]),
        "vehicle_year": ("year", [None, *(str(FIRST_YEAR + n) for n in range(YEARS))]),
        "permit_license_number": ("permit", [None, *(f"AB{n:03}" for n in range(1, 200))]),
        "wheelchair_accessible": ("wheelchair", [*WHEELCHAIR]),
        "veh": ("drive", [*DRIVE]),
        "reason": ("reason", [*REASON]),
    }
    bases = [base for number in range(BASES) for base in _base(seed, number)]
    return found | {name: ("base", [base[name] for base in bases]) for name in bases[0]}


def _base(seed: int, number: int) -> list[dict[str, Text]]:
    """A base in the new spelling and in the old one."""
    rng = Random(f"{seed}/base {number}")
    name = f"{rng.choice(WORDS)} {rng.choice(KINDS)} {rng.choice(FORMS)}"
    domain = name.split(" ")[0] + str(number)
    websites = (None, f"WWW.{domain}.EXAMPLE", f"OFFICE@{domain}.EXAMPLE", f"{domain}@MAIL.EXAMPLE")
    website, kind = rng.choice(websites), rng.choice(("BLACK CAR", "BLACK CAR", "LIVERY", "LUXURY"))
    area, line = rng.choice((212, 718, 347, 929)), f"555-{rng.randrange(100, 200):04}"
    address = f"{rng.randrange(1, 99)}-{rng.randrange(1, 99):02}   {rng.choice(STREETS)}"
    place = rng.choice(BOROUGHS)
    match number % ODD_BASE:
        case 1:
            address = f"{address}\nSUITE {rng.randrange(1, 20)}, 2ND FLOOR"
        case 2:
            website = "N/A"
        case 3:
            name = f'{name} D/B/A "{rng.choice(WORDS)}"'
        case 4:
            line = f"{line} x2"
    base: dict[str, Text] = {
        "license_type": "For Hire Vehicle",
        "base_number": f"B{2000 + 7 * number:05}",
        "base_name": name,
        "base_type": kind,
        "base_telephone_number": f"({area}) {line}",
        "website": website,
        "base_address": f"{address} {place}",
    }
    old = {
        "license_type": "FOR HIRE VEHICLE",
        "base_type": kind.replace(" ", "-"),
        "base_telephone_number": f"({area}){line}",
    }
    return [base, base | old]


def _weighted(rng: Random, texts: dict[Text, int], many: int) -> list[int]:
    return rng.choices(range(len(texts)), weights=list(texts.values()), k=many)


def _spread(numbers: range, count: int, name: str) -> Iterable[int]:
    """Numbers below `count` that look random; equal ones only after `count` of them."""
    step, start = scatter(count, name)
    return ((number * step + start) % count for number in numbers)


def scatter(count: int, name: str) -> tuple[int, int]:
    """Step and start, so that n -> (n * step + start) % count is a permutation without a list."""
    rng = Random(name)
    step = next(
        step for step in iter(lambda: rng.randrange(1, count + 1), 0) if gcd(step, count) == 1
    )
    return step, rng.randrange(count)
