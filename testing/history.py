"""Years of marts without a warehouse: rows under the real contracts, plausible and repeatable.

`python -m testing.history DIRECTORY` makes both snapshots and both sites there.
"""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from dashboards.formats import Formats
from dashboards.publish import make_pages
from runs.build import PROJECT_DIR, environment
from serving.contract import AUDIENCES, Contract, contracts, write
from serving.places import Places
from serving.snapshot import publish
from serving.status import TABLES

NOW = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
YEARS = 5
SMALL = 200
TODAY = NOW.date()
FIRST = date(TODAY.year - YEARS, TODAY.month, 1)
Row = dict[str, Any]

# Each item and what it costs in a month.
EXPENSES = {
    "EXPENSES": {
        "FOOD": 8_200,
        "GROCERY": 4_600,
        "WATER": 420,
        "LAUNDRY": 900,
        "CLOTHES": 1_300,
        "MASSAGE": 1_100,
        "SUBSCRIPTION": 740,
    },
    "BILLS": {"ELECTRICITY BILL": 3_500, "INTERNET": 1_700},
    "FAMILY SUPPORT": {"ALLOWANCE": 6_000},
    "GIFT": {"BIRTHDAY": 1_500},
}
# Mean temperature in °C, how much the seasons change it, hours from UTC.
PLACES = {"Manila": (28.0, 1.5, 8), "Baguio": (19.0, 1.5, 8), "Tromsø": (3.0, 9.0, 1)}
SITES = [
    f"{town}-{kind}.example"
    for kind in ("courier", "herald", "tribune", "post", "journal", "ledger")
    for town in (
        *("manila", "cebu", "davao", "luzon", "visayas"),
        *("iloilo", "baguio", "island", "harbor", "metro"),
    )
]
# The first ones publish most.
SHARES = [1 / (n + 3) for n in range(len(SITES))]
CATEGORIES = ("general", "business", "entertainment", "health", "science", "sports", "technology")
SOURCES = ("finance", "nyc_fhv", "openweather", "operations", "ph_news", "usgs_earthquake")


def months() -> list[str]:
    found, day = [], FIRST
    while day <= TODAY:
        found.append(f"{day:%Y-%m}")
        day = (day + timedelta(days=32)).replace(day=1)
    return found


def days(count: int | None = None) -> list[date]:
    first = FIRST if count is None else TODAY - timedelta(days=count - 1)
    return [first + timedelta(days=n) for n in range((TODAY - first).days + 1)]


def pesos(rng: random.Random, mean: float) -> Decimal:
    return Decimal(round(max(1.0, rng.gauss(mean, mean / 4)) * 100)) / 100


def monthly_spending(rng: random.Random) -> Iterator[Row]:
    for month in months():
        for type_, items in EXPENSES.items():
            for item in items:
                cost = pesos(rng, EXPENSES[type_][item])
                yield {
                    "year_month": month,
                    "type": type_,
                    "item": item,
                    "cost": cost,
                    "full_cost": cost,
                    "entry_count": rng.randint(1, 30),
                }


def monthly_pnl(rng: random.Random) -> Iterator[Row]:
    running = Decimal(0)
    for month in months():
        income, expenses = pesos(rng, 60_000), pesos(rng, 45_000)
        running += income - expenses
        yield {
            "year_month": month,
            "income": income,
            "expenses": expenses,
            "savings": income - expenses,
            "running_savings": running,
        }


def ledger(rng: random.Random) -> Iterator[Row]:
    for n, day in enumerate(day for day in days() for _ in range(3)):
        type_ = rng.choice(list(EXPENSES))
        yield {
            "entry_id": f"{n + 1}",
            "entry_date": day,
            "type": type_,
            "item": rng.choice(list(EXPENSES[type_])),
            "cost": pesos(rng, 400),
            "to": rng.choice([None, "FOODPANDA", "GRAB"]),
            "store": rng.choice([None, "CORNER STORE", "MARKET"]),
            "source": rng.choice(["CASH", "BANK"]),
        }


def by_month(mean: float, **columns: float) -> Callable[[random.Random], Iterator[Row]]:
    def rows(rng: random.Random) -> Iterator[Row]:
        for month in months():
            yield {"year_month": month, "cost": pesos(rng, mean)} | {
                name: pesos(rng, part) for name, part in columns.items()
            }

    return rows


def by_day(mean: float) -> Callable[[random.Random], Iterator[Row]]:
    def rows(rng: random.Random) -> Iterator[Row]:
        for day in days():
            cost = None if day > TODAY - timedelta(days=4) else pesos(rng, mean)
            yield {"date": day, "daily_cost": cost, "average_daily_cost": pesos(rng, mean)}

    return rows


def online_subscriptions(rng: random.Random) -> Iterator[Row]:
    for n, month in enumerate(months()):
        for place, to in enumerate(("NETFLIX", "SPOTIFY")):
            yield {
                "id": f"s{n}-{place}",
                "year_month": month,
                "to": to,
                "cost": pesos(rng, 300),
                "source": "BANK",
            }


def yearly(items: tuple[str | None, ...]) -> Callable[[random.Random], Iterator[Row]]:
    def rows(rng: random.Random) -> Iterator[Row]:
        for year in range(FIRST.year, TODAY.year + 1):
            for item in items:
                yield {"year": year, "item": item, "cost": pesos(rng, 8_000)}

    return rows


def uncounted_entries(rng: random.Random) -> Iterator[Row]:
    for n, reason in enumerate(("impossible date", "no amount", "unknown type")):
        yield {
            "entry_id": f"u{n}",
            "type": "EXPENSES",
            "item": "FOOD",
            "reason": reason,
            "amount": None if reason == "no amount" else pesos(rng, 100),
        }


def event(rng: random.Random, at: datetime, least: float) -> Row:
    magnitude = round(min(least + rng.expovariate(2.3), 9.0), 1)
    is_near = rng.random() < 0.08
    (lon, lat), region = rng.choice(PHILIPPINE_ARC if is_near else ARCS)
    spread = 0.9 if is_near else 2.2
    lon, lat = lon + rng.gauss(0, spread), lat + rng.gauss(0, spread)
    lon = (lon + 180) % 360 - 180
    return {
        "event_id": f"us{rng.getrandbits(40):010x}",
        "place": f"{rng.randint(4, 240)} km {rng.choice(WINDS)} of {region}",
        "region": region,
        "event_type": "earthquake",
        "magnitude_type": "mb",
        "magnitude_class": classes(magnitude),
        "event_url": "https://earthquake.usgs.gov/earthquakes/eventpage/us1",
        "magnitude": magnitude,
        "depth_km": round(rng.choice((10.0, rng.expovariate(1 / 30), rng.expovariate(1 / 140))), 1),
        "latitude_degrees": round(lat, 4),
        "longitude_degrees": round(lon, 4),
        "significance": int(magnitude * 90),
        "felt_reports": rng.randint(1, 90) if rng.random() < 0.03 else None,
        "is_earthquake": True,
        "is_felt": False,
        "is_significant": magnitude > 6.7,
        "is_near_philippines": 116 <= lon <= 128 and 4 <= lat <= 21.5,
        "occurred_at": at,
        "updated_at": at,
    }


WINDS = ("N", "NNE", "ENE", "ESE", "SSE", "S", "SSW", "WSW", "WNW", "NNW")
Spot = tuple[tuple[float, float], str]
# Places along which plates meet, degrees east and north: enough for a map that looks like one.
PHILIPPINE_ARC: list[Spot] = [
    ((126.5, 6.2), "Davao Oriental"),
    ((126.6, 8.4), "Hinatuan"),
    ((126.3, 9.7), "Surigao"),
    ((125.4, 11.4), "Samar"),
    ((124.3, 13.3), "Catanduanes"),
    ((122.2, 15.6), "Aurora"),
    ((120.2, 13.7), "Mindoro"),
    ((119.9, 16.2), "Pangasinan"),
    ((121.4, 19.2), "Babuyan Islands"),
    ((123.4, 5.6), "Sarangani"),
]
ARCS: list[Spot] = [
    *(((-71, -33), "Valparaíso, Chile"), ((-70, -22), "Tocopilla, Chile")),
    *(((-70, -27), "Copiapó, Chile"), ((-76, -12), "Lima, Peru"), ((-79, -3), "Guayas, Ecuador")),
    *(((-86, 11), "Masachapa, Nicaragua"), ((-93, 15), "Chiapas, Mexico")),
    *(((-103, 18), "Michoacán, Mexico"), ((-116, 32), "Ensenada, Mexico")),
    *(((-122, 38), "the Bay Area, California"), ((-125, 41), "Petrolia, California")),
    *(((-150, 61), "Anchorage, Alaska"), ((-160, 55), "Sand Point, Alaska")),
    *(
        ((-168, 53), "Nikolski, Alaska"),
        ((-175, 52), "Adak, Alaska"),
        ((175, 52), "Shemya, Alaska"),
    ),
    *(((160, 54), "Kamchatka, Russia"), ((154, 49), "the Kuril Islands")),
    *(((148, 45), "the Kuril Islands"), ((143, 41), "Aomori, Japan"), ((142, 38), "Miyagi, Japan")),
    *(((141, 33), "the Izu Islands, Japan"), ((131, 31), "Kagoshima, Japan")),
    *(((122, 24), "Hualien, Taiwan"), ((97, 3), "Aceh, Indonesia"), ((101, -4), "Bengkulu")),
    *(((107, -8), "West Java, Indonesia"), ((115, -9), "Bali, Indonesia"), ((122, -9), "Flores")),
    *(((128, -6), "the Banda Sea"), ((126, 1), "the Molucca Sea"), ((139, -3), "Papua")),
    *(((146, -5), "New Britain"), ((155, -7), "Bougainville"), ((161, -10), "Solomon Islands")),
    *(((167, -14), "Vanuatu"), ((-174, -16), "Tonga"), ((-174, -20), "Tonga")),
    *(((-177, -28), "the Kermadec Islands"), ((178, -38), "Gisborne, New Zealand")),
    *(((70, 36), "the Hindu Kush"), ((77, 39), "Xinjiang, China"), ((86, 28), "Nepal")),
    *(((57, 28), "southern Iran"), ((48, 34), "western Iran"), ((38, 38), "eastern Turkey")),
    *(((27, 37), "the Dodecanese"), ((22, 38), "Patras, Greece"), ((14, 42), "central Italy")),
    *(((-20, 64), "Iceland"), ((-30, 35), "the Azores"), ((-41, 12), "the Mid-Atlantic Ridge")),
    *(((-27, -58), "the South Sandwich Islands"), ((-13, -20), "the Mid-Atlantic Ridge")),
]


def classes(magnitude: float) -> str:
    names = ("micro", "micro", "minor", "minor", "light", "moderate", "strong", "major", "great")
    return names[min(int(max(magnitude, 0)), 8)]


def recent_earthquakes(rng: random.Random) -> Iterator[Row]:
    for _ in range(10_600):
        # One in ten is strong enough to be located from afar.
        least = 4.0 if rng.random() < 0.1 else 0.4
        yield event(rng, NOW - timedelta(seconds=rng.uniform(0, 30 * 86_400)), least)


def strong_earthquakes(rng: random.Random) -> Iterator[Row]:
    for _ in range(1_700 * YEARS):
        yield event(rng, NOW - timedelta(seconds=rng.uniform(0, YEARS * 365 * 86_400)), 5.0)


def significant_and_felt_earthquakes(rng: random.Random) -> Iterator[Row]:
    for _ in range(2_000):
        at = NOW - timedelta(seconds=rng.uniform(0, YEARS * 365 * 86_400))
        yield event(rng, at, 4.0) | {"felt_reports": rng.randint(1, 900), "is_felt": True}


def daily_earthquake_activity(rng: random.Random) -> Iterator[Row]:
    for calendar in ("UTC", "Asia/Manila"):
        for day in days():
            for name, mean in (("micro", 150), ("minor", 120), ("light", 40), ("moderate", 4)):
                yield {
                    "calendar": calendar,
                    "activity_date": day,
                    "magnitude_class": name,
                    "event_count": max(0, round(rng.gauss(mean, math.sqrt(mean)))),
                }


def earthquake_revisions(rng: random.Random) -> Iterator[Row]:
    for _ in range(900):
        at = NOW - timedelta(seconds=rng.uniform(0, 400 * 86_400))
        _, region = rng.choice(ARCS)
        first = round(rng.uniform(3, 6), 1)
        latest = round(first + rng.uniform(-0.3, 0.3), 1)
        yield {
            "event_id": f"us{rng.getrandbits(40):010x}",
            "place": f"{rng.randint(4, 240)} km {rng.choice(WINDS)} of {region}",
            "region": region,
            "first_magnitude": first,
            "latest_magnitude": latest,
            "magnitude_change": round(latest - first, 1),
            "revision_count": 1,
            "occurred_at": at,
            "latest_magnitude_at": at,
        }


def deleted_earthquakes(rng: random.Random) -> Iterator[Row]:
    for _ in range(200):
        at = NOW - timedelta(seconds=rng.uniform(0, 400 * 86_400))
        yield event(rng, at, 2.0) | {
            "deletion_kind": "withdrawn",
            "replaced_by_event_id": None,
            "marked_at": at,
        }


def season(day: date) -> float:
    """From -1 in January to 1 in July."""
    return -math.cos((day.timetuple().tm_yday - 15) / 366 * 2 * math.pi)


def hourly_weather(rng: random.Random) -> Iterator[Row]:
    first = NOW - timedelta(days=30)
    for place, (mean, seasons, offset) in PLACES.items():
        mild, rain, wind, is_present = 0.0, 0.0, 4.0, True
        for n in range(30 * 24):
            at = first + timedelta(hours=n)
            there = (at + timedelta(hours=offset)).replace(tzinfo=None)
            # Hours are missed in a row, and rain comes in showers.
            is_present = rng.random() < (0.98 if is_present else 0.6)
            mild = 0.95 * mild + rng.gauss(0, 0.4)
            rain = max(0.0, 0.6 * rain + (rng.expovariate(0.5) if rng.random() < 0.05 else -0.05))
            wind = max(0.3, 0.9 * wind + rng.uniform(0, 0.8))
            daily = 3.5 * math.sin((there.hour - 8) / 24 * 2 * math.pi)
            warm = mean + seasons * season(there.date()) + daily + mild
            yield {
                "location": place,
                "hour_started_at": at,
                "hour_started_at_local": there,
                "date_local": there.date(),
                "is_present": is_present,
                "observation_count": int(is_present),
                "utc_offset_seconds": offset * 3_600,
            } | (
                {
                    "average_temperature_celsius": warm,
                    "average_felt_temperature_celsius": warm + 1,
                    "average_humidity_percent": min(98.0, 76 - 4 * daily + 3 * rain),
                    "rain_mm": round(rain, 1),
                    "highest_wind_speed_m_per_s": round(wind, 1),
                    "last_main_condition": "Rain" if rain else rng.choice(["Clouds", "Clear"]),
                }
                if is_present
                else {}
            )


def daily_weather(rng: random.Random) -> Iterator[Row]:
    for place, (mean, seasons, _) in PLACES.items():
        mild = 0.0
        for day in days():
            mild = 0.8 * mild + rng.gauss(0, 0.8)
            warm = mean + seasons * season(day) + mild
            present = 24 if rng.random() > 0.1 else rng.randint(0, 23)
            yield {
                "location": place,
                "date_local": day,
                "expected_hour_count": 24,
                "present_hour_count": present,
                "coverage_share": present / 24,
                "average_temperature_celsius": warm if present else None,
                "lowest_temperature_celsius": warm - 4 if present else None,
                "highest_temperature_celsius": warm + 4 if present else None,
                "rain_mm": max(0.0, rng.gauss(0, 6)) if present else None,
            }


TOPICS = ["budget", "storm", "election", "ferry", "rice", "festival", "senate", "market"]
TITLES = (
    "{} and {} top the week's agenda before the {} talks",
    "what the {} means for the {} and the {}",
    "after the {}, the {} waits for word on the {}",
    "{} officials look at {} prices as the {} nears",
    "a {}, a {} and a {}: five things to know today",
)
# How much of the news each category is.
WEIGHTS = (9, 4, 4, 2, 1, 5, 2)


def headlines(rng: random.Random) -> Iterator[Row]:
    for n in range(3_000):
        at = NOW - timedelta(seconds=rng.uniform(0, 30 * 86_400))
        (site,) = rng.choices(SITES, SHARES)
        first, second, third = rng.sample(TOPICS, 3)
        title = rng.choice(TITLES).format(first, second, third)
        yield {
            "story_id": f"{site}/{n}",
            "title": title[0].upper() + title[1:],
            "source_site": site,
            "category": rng.choices(CATEGORIES, WEIGHTS)[0],
            "article_url": f"https://{site}/{n}",
            "article_count": 1,
            "published_at": at,
            "first_seen_at": at,
            "last_seen_at": at,
        }


def daily_news_by_source_and_category(rng: random.Random) -> Iterator[Row]:
    for day in days():
        for site in dict.fromkeys(rng.choices(SITES, SHARES, k=14)):
            yield {
                "published_date_manila": day,
                "source_site": site,
                "category": rng.choices(CATEGORIES, WEIGHTS)[0],
                "story_count": rng.randint(1, 20),
            }


def news_by_hour_of_day(rng: random.Random) -> Iterator[Row]:
    for category, weight in zip(CATEGORIES, WEIGHTS, strict=True):
        for hour in range(24):
            # Few at four in the morning, most in the late afternoon.
            daily = 1.2 - math.cos((hour - 4) / 24 * 2 * math.pi)
            yield {
                "category": category,
                "published_hour_manila": hour,
                "story_count": round(weight * daily * rng.uniform(35, 50)),
                "category_share": 1 / 24,
            }


def base_name(n: int) -> str:
    street, kind = (
        ("HUDSON", "FLATBUSH", "ASTORIA", "JEROME", "ATLANTIC", "BROADWAY"),
        (
            *("CAR SERVICE INC", "TRANSPORTATION LLC", "BLACK CAR CORP"),
            *("LIVERY INC", "LIMOUSINE LLC"),
        ),
    )
    name = f"{street[n % 6]} {kind[n % 5]}"
    return name if n < 30 else f"{name} {n}"


def fleet(n: int) -> int:
    """Vehicles of the base that is so many places behind the largest one."""
    return max(1, round(31_000 / math.pow(n + 1, 1.15)))


def fhv_base_leaderboard(rng: random.Random) -> Iterator[Row]:
    for n in range(900):
        yield {
            "base_number": f"B{n:05}",
            "base_name": base_name(n),
            "base_type": rng.choice(["BLACK CAR", "LIVERY", "LUXURY"]),
            "size_rank": n + 1,
            "vehicle_count": fleet(n),
            "accessible_share": rng.random() / 5,
            "fleet_share": 1 / 900,
        }


def fhv_vehicles_by_base_and_type(rng: random.Random) -> Iterator[Row]:
    for n in range(900):
        yield {
            "base_number": f"B{n:05}",
            "base_name": base_name(n),
            "base_type": "LIVERY",
            "license_type": "FOR HIRE VEHICLE",
            "vehicle_count": fleet(n),
            "oldest_model_year": 2010,
            "newest_model_year": 2026,
        }


def fhv_vehicles_by_model_year(rng: random.Random) -> Iterator[Row]:
    for year in range(2005, 2027):
        yield {
            "model_year": year,
            "vehicle_count": round(12_000 * math.exp(-(((year - 2020.5) / 4) ** 2))) + 60,
            "accessible_vehicle_count": rng.randint(0, 90),
            "electrified_vehicle_count": rng.randint(0, 90),
            "fleet_share": 1 / 22,
        }


def fhv_accessible_share(rng: random.Random) -> Iterator[Row]:
    for kind, count, accessible in (
        ("BLACK CAR", 88_400, 6_010),
        ("LIVERY", 9_200, 1_030),
        ("LUXURY", 3_100, 84),
    ):
        yield {
            "base_type": kind,
            "vehicle_count": count,
            "accessible_vehicle_count": accessible,
            "pilot_vehicle_count": 10,
            "accessible_share": accessible / count,
        }


def monthly_fhv_license_expirations(rng: random.Random) -> Iterator[Row]:
    day = TODAY.replace(day=1)
    for _ in range(36):
        yield {
            "expiration_month_new_york": day,
            "expiring_license_count": rng.randint(1_000, 5_000),
            "expired_license_count": 0,
            "base_count": 500,
        }
        day = (day + timedelta(days=32)).replace(day=1)


def daily_fhv_joiners_and_leavers(rng: random.Random) -> Iterator[Row]:
    for day in days(365):
        yield {
            "list_date_new_york": day,
            "opening_license_count": 100_000,
            "joined_license_count": rng.randint(40, 160) if day.weekday() < 5 else 0,
            "left_license_count": rng.randint(20, 120) if day.weekday() < 5 else 0,
            "closing_license_count": 100_000,
            "base_change_count": rng.randint(0, 20),
        }


# A day's runs, and the rows that they write.
RUNS = {
    "finance": 6,
    "nyc_fhv": 4,
    "openweather": 24,
    "operations": 1,
    "ph_news": 8,
    "usgs_earthquake": 48,
}
WRITTEN = {
    "finance": 4,
    "nyc_fhv": 240,
    "openweather": 72,
    "operations": 0,
    "ph_news": 180,
    "usgs_earthquake": 520,
}


def daily_source_operations(rng: random.Random) -> Iterator[Row]:
    for day in days():
        for source in SOURCES:
            yield {
                "source": source,
                "date_manila": day,
                "run_count": RUNS[source],
                "written_row_count": round(WRITTEN[source] * rng.uniform(0.7, 1.3)),
                "rejected_row_count": rng.choice((0, 0, 0, 1, 3)),
                "failed_load_count": 0,
                "request_count": rng.randint(1, 90),
                "billed_bytes": round(RUNS[source] * rng.uniform(0.6, 1.2) * 2**27),
            }


def daily_rejects(rng: random.Random) -> Iterator[Row]:
    for day in days(400):
        yield {
            "source": "usgs_earthquake",
            "date_manila": day,
            "table_name": "usgs_earthquake__events",
            "reason": "blank id",
            "is_expected": True,
            "reject_count": rng.randint(1, 9),
        }


def status_runs(rng: random.Random) -> Iterator[Row]:
    for n in range(1_500):
        at = NOW - timedelta(minutes=6 * n)
        source = rng.choice(SOURCES)
        yield {
            "run_id": f"run-{n}",
            "deployment": f"elt/{source.replace('_', '-')}",
            "source": source,
            "state": rng.choices(["Completed", "Failed", "Crashed"], [50, 1, 1])[0],
            "started_at": at - timedelta(seconds=20),
            "ended_at": at,
            "seconds": round(rng.uniform(4, 60), 1),
            "message": "1,518 rows into raw.usgs_earthquake__events (1,500 inserted)",
            "link": f"https://platform.example/runs/flow-run/{n}",
        }


def status_freshness(rng: random.Random) -> Iterator[Row]:
    for source in SOURCES:
        yield {
            "source": source,
            "last_look_at": NOW - timedelta(minutes=12),
            "newest_event_at": NOW - timedelta(hours=2),
            "look_state": "fresh",
            "event_state": "fresh" if source != "ph_news" else "warn",
            "checked_at": NOW,
        }


def status_budgets(rng: random.Random) -> Iterator[Row]:
    yield {"source": "ph_news", "spent": 61, "allowed": 100, "checked_at": NOW}


def status_incidents(rng: random.Random) -> Iterator[Row]:
    yield {
        "incident": "run:elt/ph-news",
        "kind": "run",
        "title": "elt/ph-news failed",
        "cause": "HTTP 401 invalid_access_key",
        "source": "ph_news",
        "begun_at": NOW - timedelta(hours=3),
        "link": "https://platform.example/runs/flow-run/1",
    }


def status_sources(rng: random.Random) -> Iterator[Row]:
    for source in SOURCES:
        if source != "operations":
            yield {"source": source, "is_configured": True, "checked_at": NOW}


MAKERS: dict[str, Callable[[random.Random], Iterator[Row]]] = {
    "monthly_food_expenses": by_month(9_000, food_cost=6_000, grocery_cost=3_000),
    "monthly_food_deliveries": by_month(3_000, foodpanda_cost=2_000, grab_cost=1_000),
    "monthly_electricity_expenses": by_month(3_500),
    "daily_drinking_water_expenses": by_day(12),
    "daily_laundry_expenses": by_day(25),
    "yearly_clothes_expenses": yearly((None,)),
    "yearly_massage_expenses": yearly(("MASSAGE", "MASSAGE CHAIR")),
    **{
        make.__name__: make
        for make in (
            *(monthly_spending, monthly_pnl, ledger, online_subscriptions, uncounted_entries),
            *(recent_earthquakes, strong_earthquakes, significant_and_felt_earthquakes),
            *(daily_earthquake_activity, earthquake_revisions, deleted_earthquakes),
            *(hourly_weather, daily_weather, headlines, daily_news_by_source_and_category),
            *(news_by_hour_of_day, fhv_base_leaderboard, fhv_vehicles_by_base_and_type),
            *(fhv_vehicles_by_model_year, fhv_accessible_share, monthly_fhv_license_expirations),
            *(daily_fhv_joiners_and_leavers, daily_source_operations, daily_rejects),
            *(status_runs, status_freshness, status_budgets, status_incidents),
            status_sources,
        )
    },
}


def make_history(places: Places, known: list[Contract], every: int = 1, seed: int = 7) -> None:
    """Both snapshots hold five years of every mart that a page shows, of which one row in `every`.

    Small marts are whole.
    """
    places.make()
    written: dict[str, list[Any]] = {audience: [] for audience in AUDIENCES}
    for contract in (*known, *TABLES):
        make = MAKERS.get(contract.name)
        if make is None:
            continue
        rng = random.Random(f"{contract.name}-{seed}")
        names = [column.name for column in contract.columns]
        rows = [{name: row.get(name) for name in names} for row in make(rng)]
        if len(rows) > SMALL:
            rows = rows[::every]
        batch = pa.RecordBatch.from_pylist(rows, schema=contract.schema)
        for audience in AUDIENCES:
            seen = contract.seen_by(audience)
            if seen is None:
                continue
            root, built_at = places.snapshot(audience), NOW - timedelta(minutes=12)
            written[audience].append(write(root, seen, [batch], built_at, built_at))
    for audience in AUDIENCES:
        publish(places.snapshot(audience), written[audience], now=NOW)


def parsed_manifest(target: Path, project: str = "p") -> Path:
    """dbt's manifest of this project, parsed into `target`; tables are in `project`."""
    # Of the tests that are collected with these few need it, and it takes 1.5 s to import.
    from dbt.cli.main import dbtRunner

    options = ["--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR), "--quiet"]
    options += ["--target-path", str(target), "--log-path", str(target / "logs")]
    named = {"GCP_PROJECT": project, "RAW_DATASET": "raw", "DBT_DATASET_PREFIX": ""}
    with environment(named | {"GCP_SERVICE_ACCOUNT_FILE": ""}):
        result = dbtRunner().invoke(["parse", *options])
    assert result.success
    return target / "manifest.json"


def every_contract(manifest: Path) -> list[Contract]:
    return contracts(json.loads(manifest.read_text()))


def main() -> int:
    """Argument: where to."""
    places = Places(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as target:
        make_history(places, every_contract(parsed_manifest(Path(target))))
    for audience, sizes in make_pages(places, Formats(), NOW).items():
        print(audience, sizes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
