"""What `elt` refuses before it runs: a range that cannot be, and what a source has no use for."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError

from flows.elt import elt
from flows.source import source_flow

DAYS = {"start": "2026-01-01", "end": "2026-01-31"}
REVERSED = {"start": "2026-01-31", "end": "2026-01-01"}


@pytest.mark.parametrize(
    ("source", "parameters", "refusal"),
    [
        ("usgs-earthquake", REVERSED, "ends on 2026-01-01, before it begins on 2026-01-31"),
        ("usgs-earthquake", {"start": "2999-01-01"}, "begins on 2999-01-01, and today is"),
        ("usgs-earthquake", {"start": "yesterday"}, "start: Input should be a valid date"),
        ("ph-news", DAYS, "ph-news cannot be asked for a range of days"),
        ("ph-news", {"end": "2026-01-31"}, "ph-news cannot be asked for a range of days"),
        ("openweather", {"allow_deletions": True}, "openweather has no deletions to allow"),
    ],
)
def test_parameters_that_make_no_sense_fail_a_run_before_its_first_step(
    source: str, parameters: dict[str, Any], refusal: str
) -> None:
    with pytest.raises(ParameterTypeError, match=refusal):
        elt.validate_parameters({"source": source, **parameters})
    if source == "usgs-earthquake":
        with pytest.raises(ParameterTypeError, match=refusal):
            source_flow("usgs_earthquake").validate_parameters(parameters)


def test_parameters_that_make_sense_pass() -> None:
    for source, parameters in (
        ("usgs-earthquake", DAYS),
        ("usgs-earthquake", {"start": "2026-01-01"}),
        ("usgs-earthquake", {"end": "2026-01-31"}),
        ("finance", {"allow_deletions": True}),
        ("nyc-fhv", {"allow_deletions": True}),
        ("openweather", {"allow_deletions": False, "start": None}),
    ):
        cast = elt.validate_parameters({"source": source, **parameters})
        assert {name: str(cast[name]) for name in parameters} == {
            name: str(value) for name, value in parameters.items()
        }
