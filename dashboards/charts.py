"""Charts of Altair, which makes and checks Vega-Lite specifications.

They name no colour, font or size: a page's script puts those in from the style's tokens, so that a
chart follows light and dark. Categories get the colours of the tokens in the order of their domain.
A tooltip tells what a chart goes along, the category and the measure, in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from dashboards.page import Control, Row


@dataclass(frozen=True)
class Along:
    """What a chart goes along: its lower axis, and a line of its tooltip."""

    x: alt.X
    tip: alt.Tooltip


@dataclass(frozen=True)
class Measure:
    """A number that a chart draws: its field, what its axis says, its name, and d3's format."""

    field: str
    unit: str
    label: str
    format: str = ","

    @property
    def tip(self) -> alt.Tooltip:
        return tip(self.field, self.label, self.format)


@dataclass(frozen=True)
class Category:
    """What a chart tells apart by colour: its field, its name, and its values in their order."""

    field: str
    label: str
    domain: Sequence[str]

    @property
    def tip(self) -> alt.Tooltip:
        return tip(self.field, self.label)

    @property
    def color(self) -> alt.Color:
        scale = alt.Scale(domain=list(self.domain))
        return alt.Color(self.field, type="nominal", scale=scale, legend=LEGEND)


LEGEND = alt.Legend(title=None, orient="top", direction="horizontal", labelLimit=160)


def specification(chart: Any) -> dict[str, Any]:
    """Vega-Lite of a chart without Altair's own theme, sized by its container."""
    spec: dict[str, Any] = chart.properties(width="container").to_dict()
    for unwanted in ("config", "$schema", "datasets"):
        spec.pop(unwanted, None)
    return spec


def of(data: str) -> alt.Chart:
    """A chart of rows that a section names so."""
    return alt.Chart(alt.NamedData(data))


def axis(title: str | None = None, **options: Any) -> alt.Axis:
    return alt.Axis(title=title, **options)


def months(field: str, rows: Iterable[Row]) -> Along:
    """Months such as 2026-11, of these rows. Years are written where there are many months, else as
    many months as there is room for."""
    listed = sorted({row[field] for row in rows})
    if len(listed) <= 24:
        return level(field, "Month")
    values = [month for month in listed if month.endswith("-01")]
    written = axis(labelAngle=0, values=values, labelExpr="slice(datum.value, 0, 4)")
    return Along(alt.X(field, type="ordinal", axis=written), tip(field, "Month"))


# Times are drawn and told as UTC whatever a browser's zone is: rows have them as they are to be
# read, in the zone that the page names (Formats.clock).
UTC_SCALE = alt.Scale(type="utc")
DAY: Literal["utcyearmonthdate"] = "utcyearmonthdate"
MINUTE: Literal["utcyearmonthdatehoursminutes"] = "utcyearmonthdatehoursminutes"


def days(field: str) -> Along:
    """Days as bands, for bars."""
    written = axis(format="%b %-d", labelOverlap="parity", labelSeparation=12)
    return Along(alt.X(field, type="temporal", timeUnit=DAY, axis=written), day_tip(field))


def dates(field: str, label: str = "Day") -> Along:
    """Days on a line."""
    return Along(time(field), day_tip(field, label))


def moments(field: str, label: str) -> Along:
    """Times on a line."""
    told = alt.Tooltip(
        field, type="temporal", timeUnit=MINUTE, title=label, format="%Y-%m-%d %H:%M"
    )
    return Along(time(field), told)


def time(field: str) -> alt.X:
    written = axis(tickCount=7, labelExpr=WRITTEN_TIME, labelOverlap="parity", labelSeparation=12)
    return alt.X(field, type="temporal", scale=UTC_SCALE, axis=written)


# No more than is needed: 12:00, Nov 27, Nov, 2026.
WRITTEN_TIME = (
    "utcFormat(datum.value, utchours(datum.value) ? '%H:%M' : utcdate(datum.value) > 1 ? '%b %-d' "
    ": utcmonth(datum.value) ? '%b' : '%Y')"
)


def level(field: str, label: str) -> Along:
    """A few words or numbers; as many are written as there is room for."""
    written = axis(labelAngle=0, labelOverlap="parity", labelSeparation=8)
    return Along(alt.X(field, type="ordinal", axis=written), tip(field, label))


def lines(data: str, x: Along, y: Measure, by: Category, from_zero: bool = True) -> Any:
    """One line per category. Nulls break a line. Its points are there for a mouse, and unseen."""
    scale = alt.Scale(zero=from_zero, nice=True)
    return (
        of(data)
        .mark_line(point="transparent", invalid="break-paths-show-domains")
        .encode(
            x=x.x,
            y=alt.Y(y.field, type="quantitative", axis=axis(y.unit), scale=scale),
            color=by.color,
            tooltip=[x.tip, by.tip, y.tip],
        )
    )


def bars(data: str, x: Along, y: Measure, by: Category | None = None, stack: bool = True) -> Any:
    """Upright bars, stacked or beside each other by category."""
    stacked: Literal["zero"] | None = "zero" if stack else None
    encoded: dict[str, Any] = {
        "x": x.x,
        "y": alt.Y(y.field, type="quantitative", axis=axis(y.unit), stack=stacked),
        "tooltip": [x.tip, by.tip, y.tip] if by else [x.tip, y.tip],
    }
    if by:
        encoded["color"] = by.color
        if not stack:
            encoded["xOffset"] = alt.XOffset(by.field, type="nominal", sort=list(by.domain))
    return of(data).mark_bar().encode(**encoded)


def ranked(data: str, field: str, label: str, x: Measure, **written: Any) -> Any:
    """Lying bars of a field's values, the longest first. `written` are options of the axis."""
    return (
        of(data)
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            y=alt.Y(field, type="nominal", sort="-x", axis=axis()),
            x=alt.X(x.field, type="quantitative", axis=axis(x.unit, **written)),
            tooltip=[tip(field, label), x.tip],
        )
    )


def chosen(control: Control) -> Any:
    """The parameter that a control of the section sets, with the value that it has at first."""
    return alt.param(name=control.name, value=control.value)


def tip(field: str, title: str, format: str = "") -> alt.Tooltip:
    """A line of a tooltip: a number in this format of d3, or words."""
    if format:
        return alt.Tooltip(field, type="quantitative", title=title, format=format)
    return alt.Tooltip(field, type="nominal", title=title)


def day_tip(field: str, title: str = "Day") -> alt.Tooltip:
    return alt.Tooltip(field, type="temporal", timeUnit=DAY, title=title, format="%Y-%m-%d")
