"""Vega-Lite specifications, made and checked by Altair.

They name no colour, font or size: a page's script puts those in from the style's tokens, so that a
chart follows light and dark. Categories get the colours of the tokens in the order of their domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import altair as alt

LAND = "land-110m.json"
PHILIPPINES = "philippines-50m.json"


def finished(chart: Any) -> dict[str, Any]:
    """The specification without Altair's own theme, sized by its container."""
    spec: dict[str, Any] = chart.properties(width="container").to_dict()
    for unwanted in ("config", "$schema", "datasets"):
        spec.pop(unwanted, None)
    return spec


def base(data: str) -> Any:
    return alt.Chart(alt.NamedData(data))


def axis(title: str | None = None, **options: Any) -> Any:
    return alt.Axis(title=title, **options)


def months(field: str, found: Iterable[str]) -> Any:
    """Months such as 2026-11, all of which are `found`. Years are written where there are many
    months, else as many months as there is room for."""
    listed = sorted(set(found))
    if len(listed) <= 24:
        return level(field)
    values = [month for month in listed if month.endswith("-01")]
    written = axis(labelAngle=0, values=values, labelExpr="slice(datum.value, 0, 4)")
    return alt.X(field, type="ordinal", axis=written)


# Times are drawn and told as UTC whatever a browser's zone is: rows have them as they are to be
# read, in the zone that the page names (Formats.clock).
UTC_SCALE = alt.Scale(type="utc")
DAY: Literal["utcyearmonthdate"] = "utcyearmonthdate"
MINUTE: Literal["utcyearmonthdatehoursminutes"] = "utcyearmonthdatehoursminutes"


def days(field: str) -> Any:
    """Days as bands, for bars."""
    return alt.X(
        field,
        type="temporal",
        timeUnit=DAY,
        axis=axis(format="%b %-d", labelOverlap="parity", labelSeparation=12),
    )


def time(field: str) -> Any:
    """Moments or days, for lines and points."""
    written = axis(tickCount=7, labelExpr=WRITTEN_TIME, labelOverlap="parity", labelSeparation=12)
    return alt.X(field, type="temporal", scale=UTC_SCALE, axis=written)


# No more than is needed: 12:00, Nov 27, Nov, 2026.
WRITTEN_TIME = (
    "utcFormat(datum.value, utchours(datum.value) ? '%H:%M' : utcdate(datum.value) > 1 ? '%b %-d' "
    ": utcmonth(datum.value) ? '%b' : '%Y')"
)


def level(field: str) -> Any:
    """A few words or numbers; as many are written as there is room for."""
    written = axis(labelAngle=0, labelOverlap="parity", labelSeparation=8)
    return alt.X(field, type="ordinal", axis=written)


def lines(
    data: str,
    x: Any,
    y: str,
    color: str,
    domain: Sequence[str],
    *,
    title: str,
    tooltip: Sequence[Any],
    from_zero: bool = True,
    transform: Sequence[Any] = (),
    params: Sequence[Any] = (),
) -> dict[str, Any]:
    """One line per category. Nulls break a line. Its points are there for a mouse, and unseen."""
    chart = (
        base(data)
        .mark_line(point="transparent", invalid="break-paths-show-domains")
        .encode(
            x=x,
            y=alt.Y(
                y, type="quantitative", axis=axis(title), scale=alt.Scale(zero=from_zero, nice=True)
            ),
            color=categories(color, domain),
            tooltip=list(tooltip),
        )
    )
    return finished(_with(chart, transform, params))


def bars(
    data: str,
    x: Any,
    y: str,
    *,
    title: str,
    tooltip: Sequence[Any],
    color: str | None = None,
    domain: Sequence[str] = (),
    stack: bool = True,
    transform: Sequence[Any] = (),
    params: Sequence[Any] = (),
) -> dict[str, Any]:
    """Upright bars, stacked or beside each other by `color`."""
    encoded: dict[str, Any] = {
        "x": x,
        "y": alt.Y(y, type="quantitative", axis=axis(title), stack="zero" if stack else None),
        "tooltip": list(tooltip),
    }
    if color:
        encoded["color"] = categories(color, domain)
        if not stack:
            encoded["xOffset"] = alt.XOffset(color, type="nominal", sort=list(domain))
    return finished(_with(base(data).mark_bar().encode(**encoded), transform, params))


def ranked(
    data: str,
    y: str,
    x: str,
    *,
    title: str,
    tooltip: Sequence[Any],
    format: str | None = None,
    transform: Sequence[Any] = (),
    params: Sequence[Any] = (),
) -> dict[str, Any]:
    """Lying bars, the longest first."""
    chart = (
        base(data)
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            y=alt.Y(y, type="nominal", sort="-x", axis=axis()),
            x=alt.X(
                x,
                type="quantitative",
                axis=axis(title, **({"format": format} if format else {})),
            ),
            tooltip=list(tooltip),
        )
    )
    return finished(_with(chart, transform, params))


def categories(color: str, domain: Sequence[str]) -> Any:
    return alt.Color(color, type="nominal", scale=alt.Scale(domain=list(domain)), legend=legend())


def points_on_map(
    data: str,
    *,
    outline: str,
    projection: dict[str, Any],
    tooltip: Sequence[Any],
    transform: Sequence[Any] = (),
    params: Sequence[Any] = (),
) -> dict[str, Any]:
    """Events on land: size by magnitude, colour by depth class. What comes last lies on top."""
    if outline == LAND:
        land = alt.Chart(alt.UrlData(outline, format={"type": "topojson", "feature": "land"}))
    else:
        land = alt.Chart(alt.UrlData(outline, format={"type": "json"}))
    # Land is no data: a screen reader skips it.
    land = land.mark_geoshape(aria=False, style="land", clip=True)
    events = _with(
        base(data)
        .mark_circle(clip=True, opacity=0.65, stroke=None)
        .encode(
            longitude=alt.Longitude("lon", type="quantitative"),
            latitude=alt.Latitude("lat", type="quantitative"),
            size=alt.Size(
                "mag",
                type="quantitative",
                scale=MAGNITUDES,
                legend=None,
            ),
            color=alt.Color(
                "depth_class",
                type="nominal",
                scale=alt.Scale(domain=list(DEPTHS)),
                legend=legend(),
            ),
            tooltip=list(tooltip),
        ),
        transform,
        params,
    )
    if outline == LAND:
        sea = alt.Chart(alt.sphere()).mark_geoshape(aria=False, style="sea")
        return finished(alt.layer(sea, land, events).project(**projection))
    return finished(alt.layer(land, events).project(**projection))


# Areas of circles: those of strong events are seen among many weak ones.
MAGNITUDES = alt.Scale(type="pow", exponent=4, domain=[0, 9], range=[3, 1100])
DEPTHS = ("to 70 km", "70 to 300 km", "over 300 km", "unknown")


def depth_class(depth_km: float | None) -> str:
    """Shallow, intermediate or deep by USGS's own limits, 70 and 300 km."""
    if depth_km is None:
        return DEPTHS[3]
    return DEPTHS[0] if depth_km < 70 else DEPTHS[1] if depth_km < 300 else DEPTHS[2]


def legend(title: str | None = None) -> Any:
    return alt.Legend(title=title, orient="top", direction="horizontal", labelLimit=160)


def param(name: str, value: Any) -> Any:
    """A parameter that a control of the page sets."""
    return alt.param(name=name, value=value)


Measure = Literal["quantitative", "nominal"]


def tip(field: str, title: str, kind: Measure = "nominal", format: str | None = None) -> Any:
    options: dict[str, Any] = {"format": format} if format else {}
    return alt.Tooltip(field, type=kind, title=title, **options)


def day_tip(field: str, title: str = "Day") -> Any:
    return alt.Tooltip(field, type="temporal", timeUnit=DAY, title=title, format="%Y-%m-%d")


def time_tip(field: str, title: str) -> Any:
    return alt.Tooltip(
        field, type="temporal", timeUnit=MINUTE, title=title, format="%Y-%m-%d %H:%M"
    )


def _with(chart: Any, transform: Sequence[Any], params: Sequence[Any]) -> Any:
    for one in transform:
        chart = one(chart)
    return chart.add_params(*params) if params else chart
