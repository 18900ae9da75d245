"""News: headlines to search, and when and by whom news is published."""

from __future__ import annotations

from dashboards import charts
from dashboards.data import Data, Rows, grouped, total
from dashboards.page import Chart, Choice, Control, Figure, Page, Section, Table, TableColumn

MOST_HEADLINES = 500
MOST_SITES = 15
ALL = "all"
CATEGORIES = (
    *("general", "business", "entertainment", "health", "science", "sports", "technology"),
    "unknown",
)


def page(data: Data) -> Page:
    headlines = data.rows("headlines", order="-published_at")
    by_day = data.rows("daily_news_by_source_and_category", order="published_date_manila")
    by_hour = data.rows("news_by_hour_of_day", order="published_hour_manila")
    sites = sorted(
        grouped(by_day, ("source_site",), "story_count"),
        key=lambda row: (-row["story_count"], row["source_site"]),
    )
    months = [{**row, "month": f"{row['published_date_manila']:%Y-%m}"} for row in by_day]
    return Page(
        slug="news",
        title="News",
        lead="Headlines of the Philippines as mediastack lists them. Links lead to the publishers.",
        figures=figures(data, headlines, by_day),
        sections=[
            section_of_headlines(data, headlines),
            when(data, by_hour, by_day, sites),
        ],
        data={
            "hours": [
                {
                    "hour": row["published_hour_manila"],
                    "category": row["category"],
                    "stories": row["story_count"],
                }
                for row in by_hour
            ],
            "months": grouped(months, ("month", "category"), "story_count"),
            "sites": sites[:MOST_SITES],
        },
    )


def figures(data: Data, headlines: Rows, by_day: Rows) -> list[Figure]:
    if not by_day:
        return []
    count = data.formats.write
    days = len({row["published_date_manila"] for row in by_day})
    stories = total(by_day, "story_count")
    return [
        Figure("Stories in 30 days", count(len(headlines), "count")),
        Figure("Stories in all", count(stories, "count"), f"of {days:,} days"),
        Figure("Outlets", count(len({row["source_site"] for row in by_day}), "count")),
        Figure("Stories a day", count(stories / days, "number"), "mean"),
    ]


def section_of_headlines(data: Data, headlines: Rows) -> Section:
    if not headlines:
        return Section(id="headlines", title="Headlines", empty=data.why_empty("headlines"))
    shown = headlines[:MOST_HEADLINES]
    outlets = sorted({row["source_site"] for row in shown})
    categories = sorted({row["category"] for row in shown})
    older = len(headlines) - len(shown)
    return Section(
        id="headlines",
        title="Headlines",
        controls=[
            Control("word", "Search", "", "search"),
            Control(
                "site",
                "Source",
                "source_site",
                "select",
                [Choice(ALL, "All sources"), *(Choice(one, one) for one in outlets)],
                value=ALL,
            ),
            Control(
                "category",
                "Category",
                "category",
                "select",
                [Choice(ALL, "All categories"), *(Choice(one, one) for one in categories)],
                value=ALL,
            ),
        ],
        tables=[
            (
                "",
                Table(
                    [
                        TableColumn("published_at", "Published", "time"),
                        TableColumn("title", "Headline", "prose", link="article_url"),
                        TableColumn("source_site", "Source"),
                        TableColumn("category", "Category"),
                    ],
                    shown,
                    filters=["source_site", "category"],
                    left_out=f"The {older:,} older ones of 30 days are in gold.headlines."
                    if older
                    else "",
                ),
            )
        ],
    )


def when(data: Data, by_hour: Rows, by_day: Rows, sites: Rows) -> Section:
    if not by_hour or not by_day:
        why = data.why_empty("news_by_hour_of_day")
        return Section(id="when", title="When and by whom", empty=why)
    months = [{**row, "month": f"{row['published_date_manila']:%Y-%m}"} for row in by_day]
    return Section(
        id="when",
        title="When and by whom",
        charts=[
            Chart(
                "hours",
                "By hour of the day",
                "Stories by the hour of publication, Philippine time.",
                charts.bars(
                    "hours",
                    charts.level("hour"),
                    "stories",
                    title="stories",
                    color="category",
                    domain=CATEGORIES,
                    tooltip=[
                        charts.tip("hour", "Hour"),
                        charts.tip("category", "Category"),
                        charts.tip("stories", "Stories", "quantitative", ","),
                    ],
                ),
                Table(
                    [
                        TableColumn("published_hour_manila", "Hour", "count"),
                        TableColumn("category", "Category"),
                        TableColumn("story_count", "Stories", "count"),
                    ],
                    [row for row in by_hour if row["story_count"]],
                ),
            ),
            Chart(
                "months",
                "By month",
                "Stories by category, in months of publication.",
                charts.bars(
                    "months",
                    charts.months("month", (row["month"] for row in months)),
                    "story_count",
                    title="stories",
                    color="category",
                    domain=CATEGORIES,
                    tooltip=[
                        charts.tip("month", "Month"),
                        charts.tip("category", "Category"),
                        charts.tip("story_count", "Stories", "quantitative", ","),
                    ],
                ),
                Table(
                    [
                        TableColumn("month", "Month", "month"),
                        TableColumn("category", "Category"),
                        TableColumn("story_count", "Stories", "count"),
                    ],
                    grouped(months, ("month", "category"), "story_count")[::-1],
                ),
            ),
            Chart(
                "sites",
                "Largest sources",
                f"The {MOST_SITES} outlets with the most stories.",
                charts.ranked(
                    "sites",
                    "source_site",
                    "story_count",
                    title="stories",
                    tooltip=[
                        charts.tip("source_site", "Source"),
                        charts.tip("story_count", "Stories", "quantitative", ","),
                    ],
                ),
                Table(
                    [
                        TableColumn("source_site", "Source"),
                        TableColumn("story_count", "Stories", "count"),
                    ],
                    sites,
                ),
                rows=min(len(sites), MOST_SITES),
                span=6,
            ),
        ],
    )
