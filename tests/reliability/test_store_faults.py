"""What a bucket or BigQuery may do wrong: recovered, or a clear failure and a table made good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from botocore.config import Config
from google.cloud import bigquery

from core.errors import StoreFailed
from core.ownership import LABELS
from runs.outcome import report
from stores import bigquery as warehouse
from stores import landing, landing_s3
from stores.retry import Repeat
from stores.settings import LANDING_GCS, LANDING_S3, LandingName
from testing.matrix import crossed, or_slow
from testing.platform import KITS, TestPlatform, lands_in
from testing.proxy import CALLS, UNKNOWN, Fault, Kind, Proxies, Store

SIZE = 30
USGS = "usgs_earthquake"
LANDINGS: dict[Store, LandingName] = {"gcs": LANDING_GCS, "s3": LANDING_S3}
# Faults of one call by name: kind and status.
BUCKET: dict[str, tuple[Kind, int]] = {
    "503": ("status", 503),
    "timeout": ("hang", 0),
    "answer lost": ("lost", 0),
}
BIGQUERY: dict[str, tuple[Kind, int]] = {
    "503": ("status", 503),
    "rate limit": ("status", 403),
    "answer lost": ("lost", 0),
    "dropped": ("drop", 0),
}
FAULTS: dict[Store, dict[str, tuple[Kind, int]]] = {
    "bigquery": BIGQUERY,
    "gcs": BUCKET,
    "s3": BUCKET,
}
QUICK_REPEAT = Repeat(seconds=3, first_wait=0.02, longest_wait=0.2)
# Calls that no undisturbed run makes: the emulator's jobs are done at once, schemas do not change,
# results fit one page, datasets are made with their label.
RARE = {
    *("poll job", "list jobs", "update table", "read rows"),
    *("get layout", "get bucket", "update dataset", "list dataset"),
}
# Of one source only.
UPLOADS = {"upload rows"}


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines of seconds instead of minutes, and hardly a wait between tries."""
    quick = {"initial": 0.02, "maximum": 0.2}
    monkeypatch.setattr(landing, "TIMEOUT_SECONDS", (1, 1))
    monkeypatch.setattr(landing, "RETRY", landing.RETRY.with_delay(**quick).with_timeout(3))
    monkeypatch.setattr(warehouse, "RETRY", QUICK_REPEAT)
    monkeypatch.setattr(
        landing_s3, "CONFIG", landing_s3.CONFIG.merge(Config(connect_timeout=1, read_timeout=1))
    )
    waits = "google.resumable_media._helpers.calculate_retry_wait"
    monkeypatch.setattr(waits, lambda base, *_: (base, 0.02))


def committed_once(
    make_platform: Callable[..., TestPlatform], through: Proxies, kit: str, landing: LandingName
) -> TestPlatform:
    """A platform behind the proxies with its ledger ready and nothing loaded."""
    platform = replace(make_platform(kit=kit, size=SIZE, landing=landing), env=through.env)
    assert platform.stores.landing.address
    return platform


def plan(through: Proxies, store: Store, calls: list[str], fault: str, times: int = 1) -> None:
    kind, status = FAULTS[store][fault]
    through.reset()
    through[store].plan = [Fault(kind, call, times=times, status=status) for call in calls]


def calls_of(store: Store, landing: LandingName) -> list[str]:
    """The named calls that a first run with this landing makes."""
    own = {LANDING_GCS: {"insert load job"}, LANDING_S3: UPLOADS}
    other = own[LANDING_S3 if landing == LANDING_GCS else LANDING_GCS]
    return [name for name in CALLS[store] if name not in RARE | other]


@pytest.mark.parametrize(
    "landing", or_slow(lambda landing: landing == LANDING_S3, crossed([LANDING_GCS, LANDING_S3]))
)
def test_every_call_has_a_name_and_every_name_is_called(
    landing: LandingName, make_platform: Callable[..., TestPlatform], through: Proxies
) -> None:
    platform = committed_once(make_platform, through, USGS, landing)
    through.reset()
    platform.run()
    platform.run()
    for store, own in LANDINGS.items():
        made = {call.call for call in through[store].calls}
        assert made == (set(calls_of(store, landing)) if own == landing else {"list"})
    made = {call.call for call in through["bigquery"].calls}
    assert UNKNOWN not in made
    assert made == set(calls_of("bigquery", landing))


def test_an_account_that_may_make_no_datasets_uses_those_that_stand(
    make_platform: Callable[..., TestPlatform], through: Proxies
) -> None:
    """As deploy/gcloud.sh gives it: it edits the datasets, BigQuery refuses it the making."""
    platform = committed_once(make_platform, through, USGS, LANDING_GCS)
    store = platform.stores.warehouse
    for name in (store.raw_dataset, store.staging_dataset):
        dataset = bigquery.Dataset(f"{store.project}.{name}")
        dataset.labels = LABELS
        store.client.create_dataset(dataset)
    through.reset()
    refused = ("create dataset", "update dataset")
    through["bigquery"].plan = [Fault("denied", call, times=-1) for call in refused]
    platform.run()
    platform.assert_equals_truth()


ALL_AT_ONCE: list[tuple[str, Store, LandingName, str]] = [
    *((USGS, "bigquery", LANDING_GCS, fault) for fault in BIGQUERY),
    ("nyc_fhv", "bigquery", LANDING_S3, "answer lost"),
    *((USGS, "gcs", LANDING_GCS, fault) for fault in BUCKET),
    *(("finance", "s3", LANDING_S3, fault) for fault in BUCKET),
]


# In `make test` one fault of each store, and an answer of BigQuery's that is lost.
FIRST = {("bigquery", "503"), ("bigquery", "answer lost"), ("gcs", "timeout"), ("s3", "503")}


@pytest.mark.parametrize(
    ("kit", "store", "landing", "fault"),
    or_slow(lambda kit, store, _, fault: kit != "nyc_fhv" and (store, fault) in FIRST, ALL_AT_ONCE),
)
def test_a_fault_at_every_kind_of_call_is_recovered_within_the_run(
    kit: str,
    store: Store,
    landing: LandingName,
    fault: str,
    make_platform: Callable[..., TestPlatform],
    through: Proxies,
) -> None:
    platform = committed_once(make_platform, through, kit, landing)
    calls = calls_of(store, landing)
    plan(through, store, calls, fault)
    report(platform.run())
    assert through[store].struck() == len(calls)
    platform.assert_equals_truth()
    platform.assert_settled()


# Each source through its own bucket and USGS through the other as well, struck at the second time.
RUNS: list[tuple[str, LandingName]] = [
    *((kit, lands_in(kit)) for kit in KITS),
    (USGS, LANDING_S3),
]
EACH = [
    (kit, store, landing, fault, skip)
    for kit, landing in RUNS
    for store in CALLS
    if LANDINGS.get(store, landing) == landing
    for fault in FAULTS[store]
    for skip in (0, 1)
]


@pytest.mark.matrix
@pytest.mark.parametrize(("kit", "store", "landing", "fault", "skip"), EACH)
def test_a_fault_at_every_call_of_every_source_is_recovered_within_the_run(
    kit: str,
    store: Store,
    landing: LandingName,
    fault: str,
    skip: int,
    make_platform: Callable[..., TestPlatform],
    through: Proxies,
) -> None:
    platform = committed_once(make_platform, through, kit, landing)
    plan(through, store, calls_of(store, landing), fault)
    for each in through[store].plan:
        each.skip = skip
    report(platform.run())
    assert through[store].struck()
    platform.assert_equals_truth()
    platform.assert_settled()


ABORTED = [(USGS, LANDING_GCS, 0), ("ph_news", LANDING_GCS, 0), ("ph_news", LANDING_GCS, 1)]


@pytest.mark.parametrize(("kit", "landing", "skip"), or_slow(lambda *case: case[2] == 0, ABORTED))
def test_a_transaction_that_is_aborted_is_tried_again(
    kit: str,
    landing: LandingName,
    skip: int,
    make_platform: Callable[..., TestPlatform],
    through: Proxies,
) -> None:
    platform = committed_once(make_platform, through, kit, landing)
    through.reset()
    through["bigquery"].plan = [
        Fault("failed", "insert script", skip=skip, times=2, reason="aborted")
    ]
    report(platform.run())
    assert through["bigquery"].struck() == 2
    platform.assert_equals_truth()
    platform.assert_settled()


# What stays broken: a failure that names the source and the cause, and nothing of it stays behind.
LASTING: list[tuple[str, Store, LandingName, str, str]] = [
    (USGS, "bigquery", LANDING_GCS, "insert script", "503"),
    (USGS, "gcs", LANDING_GCS, "put manifest", "timeout"),
    ("finance", "bigquery", LANDING_GCS, "insert load job", "answer lost"),
    ("nyc_fhv", "bigquery", LANDING_S3, "upload rows", "dropped"),
    ("nyc_fhv", "s3", LANDING_S3, "get part", "503"),
    ("openweather", "bigquery", LANDING_GCS, "get table", "rate limit"),
    ("openweather", "gcs", LANDING_GCS, "get manifest", "503"),
]
# Every call of every source, each with another fault.
EACH_LASTING = [
    (kit, store, landing, call, list(FAULTS[store])[(number + shift) % len(FAULTS[store])])
    for shift, (kit, landing) in enumerate(RUNS)
    for store in CALLS
    if LANDINGS.get(store, landing) == landing
    for number, call in enumerate(calls_of(store, landing))
]


def lasting(platform: TestPlatform, through: Proxies, store: Store, call: str, fault: str) -> None:
    plan(through, store, [call], fault, times=-1)
    try:
        report(platform.run())
    except StoreFailed as failed:
        message = str(failed)
        assert message.startswith(f"{platform.kit}, {failed.window}: ")
        assert failed.reason
        assert failed.cause
    else:
        # An answer that is lost each time is found out each time.
        assert fault == "answer lost" or call in ("delete", "delete table")
    assert through[store].struck()
    through.reset()
    if not platform.source.TABLE.is_replayable and any(
        "manifest" in name for name in platform.objects()
    ):
        # Its hour is over: what was committed is there all the same.
        platform.control("advance")
    report(platform.run())
    platform.assert_equals_truth()
    platform.assert_settled()


@pytest.mark.parametrize(
    ("kit", "store", "landing", "call", "fault"),
    [
        *or_slow(lambda kit, *_: kit in ("nyc_fhv", "openweather"), LASTING),
        *(pytest.param(*case, marks=pytest.mark.matrix) for case in EACH_LASTING),
    ],
)
def test_what_stays_broken_fails_the_run_and_the_next_makes_it_good(
    kit: str,
    store: Store,
    landing: LandingName,
    call: str,
    fault: str,
    make_platform: Callable[..., TestPlatform],
    through: Proxies,
) -> None:
    lasting(committed_once(make_platform, through, kit, landing), through, store, call, fault)


@pytest.mark.parametrize(("times", "is_there"), [(2, False), (2, True), (5, False)])
def test_a_conflict_of_writes_on_s3_is_sent_again_and_no_other_batch(
    times: int,
    is_there: bool,
    make_platform: Callable[..., TestPlatform],
    through: Proxies,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(landing_s3, "CONFLICT_WAIT_SECONDS", 0.01)
    bucket = committed_once(make_platform, through, USGS, LANDING_S3).stores.landing
    if is_there:
        bucket.put_if_absent("p/manifest.json", b"another's")
    through.reset()
    through["s3"].plan = [Fault("status", "put manifest", times=times, status=409)]
    if times == landing_s3.CONFLICT_TRIES:
        with pytest.raises(landing.LandingError, match="ConditionalRequestConflict"):
            bucket.put_if_absent("p/manifest.json", b"ours")
    else:
        assert bucket.put_if_absent("p/manifest.json", b"ours") is not is_there
    assert through["s3"].struck() == times
    bucket.delete("p/manifest.json")


@pytest.mark.slow
def test_a_source_on_s3_goes_on_when_gcs_does_not_answer_and_says_so(
    make_platform: Callable[..., TestPlatform], through: Proxies
) -> None:
    plan(through, "gcs", [*calls_of("gcs", LANDING_GCS), "get bucket"], "503", times=-1)
    platform = replace(make_platform(kit="nyc_fhv", size=SIZE), env=through.env)
    outcome = platform.run()
    assert list(outcome.unlisted) == ["gs://landing"]
    platform.assert_equals_truth()
