"""Vehicles: New York's for-hire vehicles, by base, type and year. Days are New York's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from dashboards import charts
from dashboards.data import Data, Rows, grouped, total
from dashboards.formats import MINUS
from dashboards.page import Chart, Control, Figure, Page, Section, Table, TableColumn

MOST_BASES = 15


def page(data: Data) -> Page:
    bases = data.rows("fhv_base_leaderboard", order="size_rank")
    years = data.rows("fhv_vehicles_by_model_year", order="model_year")
    accessible = data.rows("fhv_accessible_share", order="-vehicle_count")
    expiring = data.rows("monthly_fhv_license_expirations", order="expiration_month_new_york")
    moves = data.rows("daily_fhv_joiners_and_leavers", order="list_date_new_york")
    return Page(
        slug="vehicles",
        title="Vehicles",
        lead="For-hire vehicles that New York City licenses: who runs them, of what kind and age. "
        "Days are New York's.",
        figures=figures(data, bases, accessible, moves),
        sections=[
            of_bases(data, bases),
            of_fleet(data, years, accessible),
            of_licences(data, expiring, moves),
        ],
        data={
            "bases": [
                {
                    "base": row["base_name"] or row["base_number"],
                    "vehicles": row["vehicle_count"],
                    "type": row["base_type"],
                }
                for row in bases[:MOST_BASES]
            ],
            "years": [
                {"year": row["model_year"], "vehicles": row["vehicle_count"]}
                for row in years
                if row["model_year"] is not None
            ],
            "accessible": [
                {
                    "type": row["base_type"] or "unknown",
                    "share": row["accessible_share"],
                    "vehicles": row["vehicle_count"],
                }
                for row in accessible
            ],
            "expiring": [
                {
                    "month": f"{row['expiration_month_new_york']:%Y-%m}",
                    "licences": row["expiring_license_count"],
                }
                for row in expiring
                if row["expiration_month_new_york"] is not None
            ],
            "moves": by_week(moves),
        },
        credits=["Vehicles: NYC Open Data, Taxi and Limousine Commission."],
    )


def by_week(moves: Rows) -> Rows:
    """Joiners and leavers of each week, which is named by its Monday."""
    dated = [
        {"week": day - timedelta(days=day.weekday()), "what": what, "licences": row[name]}
        for row in moves
        for day in [row["list_date_new_york"]]
        for what, name in (("joined", "joined_license_count"), ("left", "left_license_count"))
    ]
    return grouped(dated, ("week", "what"), "licences")


def figures(data: Data, bases: Rows, accessible: Rows, moves: Rows) -> list[Figure]:
    if not bases:
        return []
    write = data.formats.write
    vehicles = total(accessible, "vehicle_count")
    wheelchairs = total(accessible, "accessible_vehicle_count")
    found = [
        Figure("Vehicles", write(vehicles, "count"), "of the last list"),
        Figure("Bases", write(len(bases), "count")),
        Figure(
            "Take a wheelchair",
            write(wheelchairs / vehicles if vehicles else None, "share"),
            f"{write(wheelchairs, 'count')} vehicles",
        ),
    ]
    if moves:
        last = moves[-1]
        found.append(
            Figure(
                "Joined and left",
                f"+{last['joined_license_count']:,} {MINUS}{last['left_license_count']:,}",
                f"{last['list_date_new_york']}",
            )
        )
    return found


def of_bases(data: Data, bases: Rows) -> Section:
    kinds = data.rows("fhv_vehicles_by_base_and_type", order="-vehicle_count")
    if not bases:
        return Section(id="bases", title="Bases", empty=data.why_empty("fhv_base_leaderboard"))
    return Section(
        id="bases",
        title="Bases",
        controls=[Control("word", "Search", "", "search")],
        charts=[
            Chart(
                "bases",
                "Largest bases",
                f"The {MOST_BASES} bases with the most vehicles.",
                charts.ranked(
                    "bases",
                    "base",
                    "vehicles",
                    title="vehicles",
                    tooltip=[
                        charts.tip("base", "Base"),
                        charts.tip("type", "Type"),
                        charts.tip("vehicles", "Vehicles", "quantitative", ","),
                    ],
                ),
                Table(
                    [
                        TableColumn("size_rank", "Rank", "count"),
                        TableColumn("base_name", "Base"),
                        TableColumn("base_number", "Number"),
                        TableColumn("base_type", "Type"),
                        TableColumn("vehicle_count", "Vehicles", "count"),
                        TableColumn("accessible_share", "Accessible", "share"),
                        TableColumn("fleet_share", "Of the fleet", "share"),
                    ],
                    bases[:MOST_ROWS],
                    filters=["base_number"],
                    left_out=_largest(bases),
                ),
                rows=min(len(bases), MOST_BASES),
            )
        ],
        tables=[
            (
                "By base and type",
                Table(
                    [
                        TableColumn("base_name", "Base"),
                        TableColumn("base_number", "Number"),
                        TableColumn("base_type", "Base type"),
                        TableColumn("license_type", "Licence type"),
                        TableColumn("vehicle_count", "Vehicles", "count"),
                        TableColumn("oldest_model_year", "Oldest"),
                        TableColumn("newest_model_year", "Newest"),
                    ],
                    kinds[:MOST_ROWS],
                    filters=["base_number"] if kinds else [],
                    left_out=_largest(kinds),
                ),
            )
        ],
    )


MOST_ROWS = 300


def _largest(rows: Rows) -> str:
    return f"The largest {MOST_ROWS:,} of {len(rows):,}." if len(rows) > MOST_ROWS else ""


def of_fleet(data: Data, years: Rows, accessible: Rows) -> Section:
    if not years and not accessible:
        return Section(
            id="fleet", title="Fleet", empty=data.why_empty("fhv_vehicles_by_model_year")
        )
    return Section(
        id="fleet",
        title="Fleet",
        charts=[
            Chart(
                "years",
                "Model years",
                "Vehicles by the year of their model.",
                charts.bars(
                    "years",
                    charts.level("year"),
                    "vehicles",
                    title="vehicles",
                    tooltip=[
                        charts.tip("year", "Year"),
                        charts.tip("vehicles", "Vehicles", "quantitative", ","),
                    ],
                ),
                Table(
                    [
                        TableColumn("model_year", "Year"),
                        TableColumn("vehicle_count", "Vehicles", "count"),
                        TableColumn("accessible_vehicle_count", "Accessible", "count"),
                        TableColumn("electrified_vehicle_count", "Electrified", "count"),
                        TableColumn("fleet_share", "Of the fleet", "share"),
                    ],
                    years[::-1],
                ),
            ),
            Chart(
                "accessible",
                "Accessible share",
                "The share of vehicles that take a wheelchair, by type of base.",
                charts.ranked(
                    "accessible",
                    "type",
                    "share",
                    title="of the vehicles",
                    format="%",
                    tooltip=[
                        charts.tip("type", "Type of base"),
                        charts.tip("share", "Accessible", "quantitative", ".1%"),
                        charts.tip("vehicles", "Vehicles", "quantitative", ","),
                    ],
                ),
                Table(
                    [
                        TableColumn("base_type", "Type of base"),
                        TableColumn("vehicle_count", "Vehicles", "count"),
                        TableColumn("accessible_vehicle_count", "Accessible", "count"),
                        TableColumn("pilot_vehicle_count", "Pilot", "count"),
                        TableColumn("accessible_share", "Share", "share"),
                    ],
                    accessible,
                ),
            ),
        ],
    )


def of_licences(data: Data, expiring: Rows, moves: Rows) -> Section:
    if not expiring and not moves:
        return Section(
            id="licences", title="Licences", empty=data.why_empty("monthly_fhv_license_expirations")
        )
    shown: list[Any] = []
    if expiring:
        shown.append(
            Chart(
                "expiring",
                "Expiries",
                "Licences by the month in which they end.",
                charts.bars(
                    "expiring",
                    charts.months(
                        "month",
                        (
                            f"{row['expiration_month_new_york']:%Y-%m}"
                            for row in expiring
                            if row["expiration_month_new_york"] is not None
                        ),
                    ),
                    "licences",
                    title="licences",
                    tooltip=[
                        charts.tip("month", "Month"),
                        charts.tip("licences", "Licences", "quantitative", ","),
                    ],
                ),
                Table(
                    [
                        TableColumn("expiration_month_new_york", "Month", "month"),
                        TableColumn("expiring_license_count", "End then", "count"),
                        TableColumn("expired_license_count", "Ended already", "count"),
                        TableColumn("base_count", "Bases", "count"),
                    ],
                    expiring,
                ),
            )
        )
    if moves:
        shown.append(
            Chart(
                "moves",
                "Joiners and leavers",
                "Licences that came into the list and that left it, by week.",
                charts.lines(
                    "moves",
                    charts.time("week"),
                    "licences",
                    "what",
                    ["joined", "left"],
                    title="licences",
                    tooltip=[
                        charts.day_tip("week", "Week from"),
                        charts.tip("what", "What"),
                        charts.tip("licences", "Licences", "quantitative", ","),
                    ],
                ),
                Table(
                    [
                        TableColumn("list_date_new_york", "Day", "day"),
                        TableColumn("opening_license_count", "Before", "count"),
                        TableColumn("joined_license_count", "Joined", "count"),
                        TableColumn("left_license_count", "Left", "count"),
                        TableColumn("closing_license_count", "After", "count"),
                        TableColumn("base_change_count", "Changed base", "count"),
                    ],
                    moves[::-1],
                ),
            )
        )
    return Section(id="licences", title="Licences", charts=shown)
