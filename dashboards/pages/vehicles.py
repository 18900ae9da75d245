"""Vehicles: New York's for-hire vehicles, by base, type and year. Days are New York's."""

from __future__ import annotations

from datetime import timedelta

from dashboards import charts
from dashboards.charts import Category, Measure
from dashboards.data import Data, Rows, grouped, renamed, total, with_month
from dashboards.formats import MINUS
from dashboards.page import SEARCH, Chart, Column, Figure, Page, Section, Table, left_out

MOST_BASES = 15
MOST_ROWS = 300
VEHICLES = Measure("vehicles", "vehicles", "Vehicles")
LICENCES = Measure("licences", "licences", "Licences")
COUNT = Column("vehicle_count", "Vehicles", "count")
ACCESSIBLE = Column("accessible_vehicle_count", "Accessible", "count")
OF_THE_FLEET = Column("fleet_share", "Of the fleet", "share")


def page(data: Data) -> Page:
    bases = data.rows("fhv_base_leaderboard", order="size_rank")
    years = data.rows("fhv_vehicles_by_model_year", order="model_year")
    accessible = data.rows("fhv_accessible_share", order="-vehicle_count")
    expiring = data.rows("monthly_fhv_license_expirations", order="expiration_month_new_york")
    moves = data.rows("daily_fhv_joiners_and_leavers", order="list_date_new_york")
    return Page(
        title="Vehicles",
        lead="For-hire vehicles that New York City licenses: who runs them, of what kind and age. "
        "Days are New York's.",
        figures=figures(data, bases, accessible, moves),
        sections=[
            of_bases(data, bases),
            of_fleet(data, years, accessible),
            of_licences(data, expiring, moves),
        ],
        credits=["Vehicles: NYC Open Data, Taxi and Limousine Commission."],
    )


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
        moved = f"+{last['joined_license_count']:,} {MINUS}{last['left_license_count']:,}"
        found.append(Figure("Joined and left", moved, f"{last['list_date_new_york']}"))
    return found


def of_bases(data: Data, bases: Rows) -> Section:
    kinds = data.rows("fhv_vehicles_by_base_and_type", order="-vehicle_count")
    if not bases:
        return Section("bases", "Bases", empty=data.why_empty("fhv_base_leaderboard"))
    largest = [
        {
            "base": row["base_name"] or row["base_number"],
            "vehicles": row["vehicle_count"],
            "type": row["base_type"],
        }
        for row in bases[:MOST_BASES]
    ]
    name, number = Column("base_name", "Base"), Column("base_number", "Number")
    chart = Chart(
        "bases",
        "Largest bases",
        f"The {MOST_BASES} bases with the most vehicles.",
        charts.ranked("bases", "base", "Base", VEHICLES).encode(
            tooltip=[charts.tip("base", "Base"), charts.tip("type", "Type"), VEHICLES.tip]
        ),
        Table(
            [
                Column("size_rank", "Rank", "count"),
                name,
                number,
                Column("base_type", "Type"),
                COUNT,
                Column("accessible_share", "Accessible", "share"),
                OF_THE_FLEET,
            ],
            bases[:MOST_ROWS],
            filters=["base_number"],
            left_out=left_out(bases, MOST_ROWS, "largest"),
        ),
        rows=len(largest),
    )
    by_type = Table(
        [
            name,
            number,
            Column("base_type", "Base type"),
            Column("license_type", "Licence type"),
            COUNT,
            Column("oldest_model_year", "Oldest"),
            Column("newest_model_year", "Newest"),
        ],
        kinds[:MOST_ROWS],
        filters=["base_number"],
        left_out=left_out(kinds, MOST_ROWS, "largest"),
        title="By base and type",
    )
    return Section(
        "bases",
        "Bases",
        controls=[SEARCH],
        charts=[chart],
        tables=[by_type],
        data={"bases": largest},
    )


def of_fleet(data: Data, years: Rows, accessible: Rows) -> Section:
    if not years and not accessible:
        return Section("fleet", "Fleet", empty=data.why_empty("fhv_vehicles_by_model_year"))
    known = [row for row in years if row["model_year"] is not None]
    types = [
        {
            "type": row["base_type"] or "unknown",
            "share": row["accessible_share"],
            "vehicles": row["vehicle_count"],
        }
        for row in accessible
    ]
    share = Measure("share", "of the vehicles", "Accessible", ".1%")
    return Section(
        "fleet",
        "Fleet",
        charts=[
            Chart(
                "years",
                "Model years",
                "Vehicles by the year of their model.",
                charts.bars("years", charts.level("year", "Year"), VEHICLES),
                Table(
                    [
                        Column("model_year", "Year"),
                        COUNT,
                        ACCESSIBLE,
                        Column("electrified_vehicle_count", "Electrified", "count"),
                        OF_THE_FLEET,
                    ],
                    years[::-1],
                ),
            ),
            Chart(
                "accessible",
                "Accessible share",
                "The share of vehicles that take a wheelchair, by type of base.",
                charts.ranked("accessible", "type", "Type of base", share, format="%").encode(
                    tooltip=[charts.tip("type", "Type of base"), share.tip, VEHICLES.tip]
                ),
                Table(
                    [
                        Column("base_type", "Type of base"),
                        COUNT,
                        ACCESSIBLE,
                        Column("pilot_vehicle_count", "Pilot", "count"),
                        Column("accessible_share", "Share", "share"),
                    ],
                    accessible,
                ),
            ),
        ],
        data={
            "years": renamed(known, year="model_year", vehicles="vehicle_count"),
            "accessible": types,
        },
    )


def of_licences(data: Data, expiring: Rows, moves: Rows) -> Section:
    if not expiring and not moves:
        why = data.why_empty("monthly_fhv_license_expirations")
        return Section("licences", "Licences", empty=why)
    dated = [row for row in expiring if row["expiration_month_new_york"] is not None]
    months = renamed(
        with_month(dated, "expiration_month_new_york"),
        month="month",
        licences="expiring_license_count",
    )
    shown = []
    if expiring:
        shown.append(
            Chart(
                "expiring",
                "Expiries",
                "Licences by the month in which they end.",
                charts.bars("expiring", charts.months("month", months), LICENCES),
                Table(
                    [
                        Column("expiration_month_new_york", "Month", "month"),
                        Column("expiring_license_count", "End then", "count"),
                        Column("expired_license_count", "Ended already", "count"),
                        Column("base_count", "Bases", "count"),
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
                    charts.dates("week", "Week from"),
                    LICENCES,
                    Category("what", "What", ["joined", "left"]),
                ),
                Table(
                    [
                        Column("list_date_new_york", "Day", "day"),
                        Column("opening_license_count", "Before", "count"),
                        Column("joined_license_count", "Joined", "count"),
                        Column("left_license_count", "Left", "count"),
                        Column("closing_license_count", "After", "count"),
                        Column("base_change_count", "Changed base", "count"),
                    ],
                    moves[::-1],
                ),
            )
        )
    rows = {"expiring": months, "moves": by_week(moves)}
    return Section("licences", "Licences", charts=shown, data=rows)


def by_week(moves: Rows) -> Rows:
    """Joiners and leavers of each week, which is named by its Monday."""
    dated = [
        {"week": day - timedelta(days=day.weekday()), "what": what, "licences": row[name]}
        for row in moves
        for day in [row["list_date_new_york"]]
        for what, name in (("joined", "joined_license_count"), ("left", "left_license_count"))
    ]
    return grouped(dated, ("week", "what"), "licences")
