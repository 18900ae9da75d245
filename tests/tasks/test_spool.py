"""Weather that its bucket does not take waits on disk; the next run commits it, once."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from core.batch import MANIFEST
from core.errors import LoadFailed, StoreFailed
from core.steps import Phase
from runs.outcome import report
from stores import bigquery as warehouse
from stores import landing
from stores.retry import Repeat
from stores.spool import locked
from testing.answering import Reply, answering
from testing.kits.openweather import LOCATIONS
from testing.matrix import crossed, or_slow
from testing.platform import Event, TestPlatform
from testing.proxy import Fault, Kind, Proxies

PHASES: tuple[Phase, ...] = ("before", "after")


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines of a second instead of minutes."""
    quick = {"initial": 0.02, "maximum": 0.2}
    monkeypatch.setattr(landing, "TIMEOUT_SECONDS", (1, 1))
    monkeypatch.setattr(landing, "RETRY", landing.RETRY.with_delay(**quick).with_timeout(0.5))
    monkeypatch.setattr(warehouse, "RETRY", Repeat(seconds=0.5, first_wait=0.02, longest_wait=0.2))
    waits = "google.resumable_media._helpers.calculate_retry_wait"
    monkeypatch.setattr(waits, lambda base, *_: (base, 0.02))


@pytest.fixture
def platform(
    make_platform: Callable[..., TestPlatform], through: Proxies, tmp_path: Path
) -> TestPlatform:
    env = {**through.env, "SPOOL_DIRECTORY": str(tmp_path / "var" / "spool")}
    platform = replace(make_platform(kit="openweather"), env=env)
    assert platform.stores.landing.address  # its clients are made while the proxies' variables hold
    return platform


def spooled(platform: TestPlatform) -> list[Path]:
    base = platform.stores.spool / platform.stores.prefix("openweather")
    return sorted(path for path in base.glob("*/*") if path.is_file())


def batches(platform: TestPlatform) -> set[str]:
    return {path.parent.name for path in spooled(platform) if path.name == MANIFEST}


def break_bucket(through: Proxies, *calls: str, kind: Kind = "status") -> None:
    through["gcs"].plan = [Fault(kind, call, times=-1) for call in calls]


def fail(
    platform: TestPlatform, through: Proxies, *calls: str, kind: Kind = "status"
) -> StoreFailed:
    """A run whose bucket fails, which is well again afterwards."""
    break_bucket(through, *(calls or ("put part", "put manifest", "list")), kind=kind)
    with pytest.raises(StoreFailed) as failed:
        platform.run()
    through.reset()
    return failed.value


@pytest.mark.parametrize(
    ("calls", "kind"),
    [
        ((), "status"),
        (("put part",), "drop"),
        (("put manifest",), "status"),
        (("put manifest",), "lost"),
    ],
)
def test_what_its_bucket_does_not_take_is_committed_by_the_next_run(
    platform: TestPlatform, through: Proxies, calls: tuple[str, ...], kind: Kind
) -> None:
    platform.run()
    platform.control("advance")
    failed = fail(platform, through, *calls, kind=kind)
    (batch_id,) = batches(platform)
    folder = platform.stores.spool / platform.stores.prefix("openweather") / batch_id
    assert f"; 4 answers are kept in {folder}, the next run commits them" in str(failed)
    assert str(failed).startswith(f"openweather, {failed.window}: LandingError: gs://landing/")
    assert failed.reason
    assert {stat.S_IMODE(path.stat().st_mode) for path in spooled(platform)} == {0o600}
    kept = [folder, *folder.parents]
    for path in kept[: kept.index(platform.stores.spool) + 2]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    # Its hour is over before the bucket is well again.
    platform.control("advance")
    outcome = platform.run()
    report(outcome)
    assert outcome.note == "1 batch committed that waited on disk"
    assert outcome.total("inserted") == 2 * len(LOCATIONS)
    assert spooled(platform) == []
    platform.assert_equals_truth()
    platform.assert_settled()


@pytest.mark.slow
def test_runs_of_hours_without_a_bucket_lose_nothing(
    platform: TestPlatform, through: Proxies
) -> None:
    platform.run()
    for _ in range(3):
        platform.control("advance")
        fail(platform, through)
    assert len(batches(platform)) == 3
    outcome = platform.run()
    report(outcome)
    assert len(platform.rows()) == 4 * len(LOCATIONS)
    assert spooled(platform) == []
    platform.assert_equals_truth()
    platform.assert_settled()


def test_weather_is_asked_and_kept_while_google_gives_no_token(
    platform: TestPlatform, through: Proxies, tmp_path: Path
) -> None:
    """A page of HTML in place of a token: neither BigQuery nor the bucket can be asked."""
    platform.run()
    platform.control("advance")
    with answering(lambda _: Reply(200, body=b"<html>back soon</html>")) as google:
        account = json.loads(Path(platform.env["GCP_SERVICE_ACCOUNT_FILE"]).read_text())
        key = tmp_path / "account.json"
        key.write_text(json.dumps(account | {"token_uri": google.url}))
        without = replace(platform, env={**platform.env, "GCP_SERVICE_ACCOUNT_FILE": str(key)})
        with pytest.raises(StoreFailed) as failed:
            without.run()
    assert "the token endpoint answered HTTP 200 with a body that is no JSON object" in str(
        failed.value
    )
    assert failed.value.reason == "NoToken"
    assert len(batches(platform)) == 1
    platform.control("advance")
    report(platform.run())
    assert len(platform.rows()) == 3 * len(LOCATIONS)
    platform.assert_equals_truth()
    platform.assert_settled()


STEPS = ("spool.put", "spool.manifest", "spool.remove")
EVENTS: list[Event] = [(name, phase) for name in STEPS for phase in PHASES]


@pytest.mark.parametrize(
    "event",
    or_slow(lambda event: event == EVENTS[2], ((event,) for event in EVENTS)),
)
def test_a_run_that_is_killed_while_it_commits_what_waits_loses_and_doubles_nothing(
    platform: TestPlatform, through: Proxies, event: Event
) -> None:
    platform.run()
    platform.control("advance")
    fail(platform, through)
    platform.run_in_child(kill_at=event)
    platform.control("advance")
    report(platform.run())
    assert spooled(platform) == []
    assert len(platform.rows()) == 3 * len(LOCATIONS)
    platform.assert_equals_truth()
    platform.assert_settled()


@pytest.mark.parametrize("phase", or_slow(lambda phase: phase == "before", crossed(PHASES)))
def test_a_run_that_is_killed_while_it_keeps_its_answers_leaves_no_half_batch(
    platform: TestPlatform, through: Proxies, phase: Phase
) -> None:
    """Before the manifest is on disk there is no batch; what was half kept goes after a day."""
    # Refused at once: the child has the deadlines of production.
    break_bucket(through, "put part", kind="denied")
    platform.run_in_child(kill_at=("spool.keep", phase))
    through.reset()
    assert batches(platform) == set()
    platform.control("advance")
    fail(platform, through)
    for folder in {
        path.parent for path in spooled(platform) if path.parent.name not in batches(platform)
    }:
        os.utime(folder, (0, 0))
    platform.control("advance")
    report(platform.run())
    assert spooled(platform) == []
    assert len(platform.rows()) == 2 * len(LOCATIONS)
    platform.assert_settled()


def test_two_runs_at_once_commit_it_once(platform: TestPlatform, through: Proxies) -> None:
    fail(platform, through)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(platform.run_in_child) for _ in range(2)]:
            done.result()
    assert spooled(platform) == []
    assert len(platform.rows()) == len(LOCATIONS)
    platform.assert_equals_truth()
    platform.assert_settled()


def test_what_another_run_is_committing_is_left_to_it(
    platform: TestPlatform, through: Proxies
) -> None:
    fail(platform, through)
    with locked(platform.stores.spool / platform.stores.prefix("openweather")) as is_ours:
        assert is_ours
        assert platform.run().note is None
    assert len(batches(platform)) == 1
    report(platform.run())
    assert spooled(platform) == []
    assert len(platform.rows()) == len(LOCATIONS)


def test_a_file_that_has_changed_on_disk_is_named_and_holds_up_nothing(
    platform: TestPlatform, through: Proxies
) -> None:
    fail(platform, through)
    (broken,) = batches(platform)
    platform.control("advance")
    fail(platform, through)
    part = next(
        path for path in spooled(platform) if path.parent.name == broken and "part" in path.name
    )
    part.write_bytes(b"x")
    platform.control("advance")
    outcome = platform.run()
    assert outcome.total("inserted") == 2 * len(LOCATIONS)
    with pytest.raises(LoadFailed, match=rf"{broken}: InvalidManifest: .*its MD5 is"):
        report(outcome)
    assert batches(platform) == {broken}


def test_a_run_whose_disk_fails_as_well_says_that_the_answers_are_lost(
    platform: TestPlatform, through: Proxies
) -> None:
    spool = platform.stores.spool
    spool.parent.mkdir()
    spool.write_text("in the way")
    failed = fail(platform, through)
    assert "; 4 answers are lost, since the disk failed as well: " in str(failed)
