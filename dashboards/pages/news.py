"""News: headlines to search, and when and by whom news is published."""

from __future__ import annotations

from dashboards import charts
from dashboards.charts import Category, Measure
from dashboards.data import Data, Rows, grouped, renamed, total, with_month
from dashboards.page import SEARCH, Chart, Column, Figure, Page, Section, Table, select

MOST_HEADLINES = 500
MOST_SITES = 15
CATEGORIES = (
    *("general", "business", "entertainment", "health", "science", "sports", "technology"),
    "unknown",
)


def page(data: Data) -> Page:
    found = data.rows("headlines", order="-published_at")
    by_day = data.rows("daily_news_by_source_and_category", order="published_date_manila")
    by_hour = data.rows("news_by_hour_of_day", order="published_hour_manila")
    return Page(
        title="News",
        lead="Headlines of the Philippines as mediastack lists them. Links lead to the publishers.",
        figures=figures(data, found, by_day),
        sections=[headlines(data, found), when(data, by_hour, by_day)],
    )


def figures(data: Data, found: Rows, by_day: Rows) -> list[Figure]:
    if not by_day:
        return []
    write = data.formats.write
    days = len({row["published_date_manila"] for row in by_day})
    stories = total(by_day, "story_count")
    return [
        Figure("Stories in 30 days", write(len(found), "count")),
        Figure("Stories in all", write(stories, "count"), f"of {days:,} days"),
        Figure("Outlets", write(len({row["source_site"] for row in by_day}), "count")),
        Figure("Stories a day", write(stories / days, "number"), "mean"),
    ]


def headlines(data: Data, found: Rows) -> Section:
    if not found:
        return Section("headlines", "Headlines", empty=data.why_empty("headlines"))
    shown = found[:MOST_HEADLINES]
    outlets = sorted({row["source_site"] for row in shown})
    categories = sorted({row["category"] for row in shown})
    older = len(found) - len(shown)
    table = Table(
        [
            Column("published_at", "Published", "time"),
            Column("title", "Headline", "prose", link="article_url"),
            Column("source_site", "Source"),
            Column("category", "Category"),
        ],
        shown,
        filters=["source_site", "category"],
        left_out=f"The {older:,} older ones of 30 days are in gold.headlines." if older else "",
    )
    return Section(
        "headlines",
        "Headlines",
        controls=[
            SEARCH,
            select("site", "Source", "source_site", "All sources", outlets),
            select("category", "Category", "category", "All categories", categories),
        ],
        tables=[table],
    )


def when(data: Data, by_hour: Rows, by_day: Rows) -> Section:
    if not by_hour or not by_day:
        return Section("when", "When and by whom", empty=data.why_empty("news_by_hour_of_day"))
    months = grouped(
        with_month(by_day, "published_date_manila"), ("month", "category"), "story_count"
    )
    sites = sorted(
        grouped(by_day, ("source_site",), "story_count"),
        key=lambda row: (-row["story_count"], row["source_site"]),
    )
    hours = renamed(
        by_hour, hour="published_hour_manila", category="category", stories="story_count"
    )
    by_category = Category("category", "Category", CATEGORIES)
    stories = Measure("story_count", "stories", "Stories")
    count = Column("story_count", "Stories", "count")
    return Section(
        "when",
        "When and by whom",
        charts=[
            Chart(
                "hours",
                "By hour of the day",
                "Stories by the hour of publication, Philippine time.",
                charts.bars(
                    "hours",
                    charts.level("hour", "Hour"),
                    Measure("stories", "stories", "Stories"),
                    by_category,
                ),
                Table(
                    [
                        Column("published_hour_manila", "Hour", "count"),
                        Column("category", "Category"),
                        count,
                    ],
                    [row for row in by_hour if row["story_count"]],
                ),
            ),
            Chart(
                "months",
                "By month",
                "Stories by category, in months of publication.",
                charts.bars("months", charts.months("month", months), stories, by_category),
                Table(
                    [Column("month", "Month", "month"), Column("category", "Category"), count],
                    months[::-1],
                ),
            ),
            Chart(
                "sites",
                "Largest sources",
                f"The {MOST_SITES} outlets with the most stories.",
                charts.ranked("sites", "source_site", "Source", stories),
                Table([Column("source_site", "Source"), count], sites),
                rows=min(len(sites), MOST_SITES),
                span=6,
            ),
        ],
        data={"hours": hours, "months": months, "sites": sites[:MOST_SITES]},
    )
