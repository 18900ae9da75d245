"""Messages reach a real HTTP server and a real mail server, once, and wait for one that is down."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from alerting.channels import NotTold
from alerting.conditions import silence
from alerting.findings import Inspection, Run
from alerting.incidents import State, advance
from alerting.notify import Told, notify, send_text
from alerting.secrets import differing, pieces, scrubber, secrets_of, without_shapes
from alerting.state_file import locked_state, read_state
from runs.alert_settings import AlertSettings
from testing.sinks import WEBHOOK_SECRET, Sinks, open_sinks

T0 = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
SECRET = "a/secret+that=is planted"


@pytest.fixture
def sinks() -> Iterator[Sinks]:
    with open_sinks() as sinks:
        yield sinks


@pytest.fixture
def alerts(sinks: Sinks, tmp_path: Path) -> AlertSettings:
    return AlertSettings(
        slack_webhook_url=SecretStr(sinks.env["SLACK_WEBHOOK_URL"]),
        email_host="127.0.0.1",
        email_port=int(sinks.env["ALERT_EMAIL_PORT"]),
        email_security="none",
        email_from="pipelines@example.org",
        email_to=["owner@example.org"],
        state_file=str(tmp_path / "state" / "alerts.json"),
    )


def failed(number: int, name: str = "elt/a", message: str = "boom <a & b>") -> Run:
    ended_at = T0 + timedelta(seconds=number)
    return Run(f"{name} {number}", name, "FAILED", "Failed", message, ended_at)


def inspect(alerts: AlertSettings, seconds: float, *runs: Run) -> Told:
    seen = Inspection("watch", T0 + timedelta(seconds=seconds), runs=list(runs))
    return notify(alerts, seen, scrubber([SECRET]))


def test_both_channels_get_the_same_message_once(alerts: AlertSettings, sinks: Sinks) -> None:
    assert inspect(alerts, 10, failed(1)).wait_seconds == 21
    assert inspect(alerts, 40, failed(1)).sent == [
        "slack: [pipelines] elt/a failed",
        "email: [pipelines] elt/a failed",
    ]
    assert inspect(alerts, 100, failed(1)).sent == []
    assert sinks.subjects() == ["[pipelines] elt/a failed"]
    # Slack reads &, < and > as markup.
    assert "cause: boom &lt;a &amp; b&gt;" in sinks.slack[0].text
    assert "cause: boom <a & b>" in sinks.email[0].text


def test_a_channel_that_is_down_gets_its_message_later_and_the_other_no_second_one(
    alerts: AlertSettings, sinks: Sinks
) -> None:
    sinks.refuse = True
    with pytest.raises(NotTold, match="slack: HTTP 500: no_service") as caught:
        inspect(alerts, 40, failed(1))
    assert WEBHOOK_SECRET not in str(caught.value)
    with pytest.raises(NotTold):
        inspect(alerts, 100)
    sinks.refuse = False
    inspect(alerts, 160)
    assert sinks.subjects() == ["[pipelines] elt/a failed"]
    assert read_state(alerts.state_path).outbox == []


def test_a_letter_that_is_refused_holds_up_no_other(alerts: AlertSettings, sinks: Sinks) -> None:
    sinks.refuse_text = "elt/spam"
    with pytest.raises(NotTold, match="slack: HTTP 400: invalid_payload; email: SMTPDataError"):
        inspect(alerts, 40, failed(1, "elt/spam"))
    with pytest.raises(NotTold):
        inspect(alerts, 140, failed(100))
    assert sinks.subjects() == ["[pipelines] elt/a failed"]
    (waiting,) = read_state(alerts.state_path).outbox
    assert waiting.left == ["slack", "email"]
    # It is given up when another is a week younger.
    with pytest.raises(NotTold):
        inspect(alerts, 8 * 86_400, failed(8 * 86_400 - 60, "elt/b"))
    assert read_state(alerts.state_path).outbox == []
    assert sinks.subjects() == ["[pipelines] elt/a failed", "[pipelines] elt/b failed"]


def test_an_address_that_is_none_is_named_and_the_other_channel_told_once(
    alerts: AlertSettings, sinks: Sinks
) -> None:
    no_address = alerts.model_copy(
        update={"slack_webhook_url": SecretStr("http://127.0.0.1:port/")}
    )
    for seconds in (40, 100):
        with pytest.raises(NotTold, match="slack: InvalidURL"):
            inspect(no_address, seconds, failed(1))
    assert len(sinks.email) == 1


def test_a_mail_server_that_is_gone_is_named(alerts: AlertSettings, sinks: Sinks) -> None:
    gone = alerts.model_copy(update={"email_port": 9})
    with pytest.raises(NotTold, match="email: ConnectionRefusedError"):
        inspect(gone, 40, failed(1))
    assert len(sinks.slack) == 1


def test_a_planted_secret_is_neither_sent_nor_kept(alerts: AlertSettings, sinks: Sinks) -> None:
    message = f"GET /?key={SECRET}\nkey {SECRET} is wrong\npassword=unknown-one"
    inspect(alerts, 40, failed(1, message=message))
    assert "key *** is wrong" in sinks.everything()
    for planted in (SECRET, "unknown-one", WEBHOOK_SECRET):
        assert planted not in sinks.everything()
        assert planted not in alerts.state_path.read_text()


def test_two_lookers_at_once_tell_once(alerts: AlertSettings, sinks: Sinks) -> None:
    storm = [failed(number, name=f"elt/{number}") for number in range(50)]
    threads = [
        threading.Thread(target=inspect, args=(alerts, 90, *storm[: 50 - n])) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inspect(alerts, 130)
    assert sum(one.text.count("elt/0 failed") for one in sinks.email) == 1
    assert len(read_state(alerts.state_path).incidents) == 50


def watch_inspects(state: State, at: datetime) -> bool:
    """Whether the flow misses the watchdog."""
    found = silence(state, "watchdog", at)
    seen = Inspection("watch", at, findings=found, covered={"prefect", "watchdog"})
    advance(state, seen, without_shapes)
    return bool(found)


def watchdog_inspects(state: State, at: datetime) -> bool:
    """Whether the timer misses the flow."""
    found = silence(state, "watch", at)
    seen = Inspection("watchdog", at, findings=found, covered={"health", "watch"})
    advance(state, seen, without_shapes)
    return bool(found)


def test_to_look_whether_another_looks_is_not_a_look_of_that_other() -> None:
    """Else the flow that misses the watchdog would keep it young for ever."""
    state = State()
    watchdog_inspects(state, T0)
    missed = [watch_inspects(state, T0 + number * timedelta(minutes=15)) for number in range(5)]
    assert missed == [False, False, True, True, True]
    assert state.inspected == {"watchdog": T0, "watch": T0 + timedelta(hours=1)}


def test_after_the_machine_was_off_neither_misses_the_other() -> None:
    """Whoever is first, at once and half a minute later: watch repeats while runs settle."""
    second, minute = timedelta(seconds=1), timedelta(minutes=1)
    for off in (20 * minute, 300 * minute):
        state = State()
        for number in range(61):
            assert not watchdog_inspects(state, T0 + number * minute)
            assert number % 15 or not watch_inspects(state, T0 + number * minute)
        on = T0 + 60 * minute + off
        assert not watch_inspects(state, on)
        assert not watch_inspects(state, on + 30 * second)
        assert not watchdog_inspects(state, on + 2 * minute)
        assert not watchdog_inspects(state, on + 3 * minute)
        assert not watch_inspects(state, on + 15 * minute)


def test_one_that_does_not_begin_again_is_missed_and_is_not_over_while_the_machine_is_off() -> None:
    minute = timedelta(minutes=1)
    state, on = State(), T0 + timedelta(hours=5)
    watchdog_inspects(state, T0)
    watch_inspects(state, T0)
    missed = [watch_inspects(state, on + number * 15 * minute) for number in range(3)]
    assert missed == [False, False, True]
    assert watch_inspects(state, on + timedelta(days=1))
    assert "silent:watchdog" in state.incidents


def test_a_look_by_a_clock_that_was_ahead_hides_no_silence() -> None:
    state, minute = State(), timedelta(minutes=1)
    watch_inspects(state, T0 + timedelta(days=1))
    missed = [watchdog_inspects(state, T0 + number * minute) for number in range(47)]
    assert missed == [False] * 46 + [True]


def test_the_file_is_for_its_owner_and_a_broken_one_is_put_aside(
    alerts: AlertSettings, sinks: Sinks
) -> None:
    inspect(alerts, 40, failed(1))
    path = alerts.state_path
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text('{"incidents": ')
    assert inspect(alerts, 100, failed(50)).sent
    assert path.with_suffix(".unreadable").exists()


def test_who_reads_while_another_writes_waits_and_puts_nothing_aside(
    alerts: AlertSettings, sinks: Sinks
) -> None:
    inspect(alerts, 40, failed(1))
    path = alerts.state_path
    whole = path.read_bytes()
    read: list[State] = []
    reader = threading.Thread(target=lambda: read.append(read_state(path)))
    with locked_state(path):
        path.write_bytes(whole[:20])
        reader.start()
        reader.join(0.5)
        assert read == []
        path.write_bytes(whole)
    reader.join(10)
    assert [list(state.incidents) for state in read] == [["run:elt/a:failed"]]
    assert not path.with_suffix(".unreadable").exists()


def on_a_full_disk(disk: Path) -> None:
    with open_sinks() as sinks:
        alerts = AlertSettings(
            slack_webhook_url=SecretStr(sinks.env["SLACK_WEBHOOK_URL"]),
            state_file=str(disk / "alerts.json"),
        )
        for seconds in (40, 100):
            inspect(alerts, seconds, failed(1))
        with (disk / "rest").open("wb", buffering=0) as rest, pytest.raises(OSError, match="space"):
            while True:
                rest.write(bytes(4096))
        for seconds in (200, 260, 320):
            inspect(alerts, seconds, *(failed(150, f"elt/{name}") for name in "bcd"))
        assert [one.subject for one in sinks.slack] == [
            "[pipelines] elt/a failed",
            "[pipelines] 3 incidents: elt/b failed, elt/c failed, elt/d failed",
        ]


def test_on_a_full_disk_all_is_told_once(tmp_path: Path) -> None:
    """A disk of its own: half a MiB of memory."""
    own = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*own, "true"], check=False, capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    call = f"from {__name__} import *; on_a_full_disk(Path({str(tmp_path)!r}))"
    mount = 'mount -t tmpfs -o size=512k none "$1" && exec "$2" -c "$3"'
    done = subprocess.run(
        [*own, "sh", "-c", mount, "sh", tmp_path, sys.executable, call],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_report_goes_through_the_outbox(alerts: AlertSettings, sinks: Sinks) -> None:
    sinks.refuse = True
    with pytest.raises(NotTold):
        send_text(alerts, "report", "text", T0)
    sinks.refuse = False
    inspect(alerts, 40)
    assert sinks.subjects() == ["report"]


def test_secrets_are_found_in_blocks_and_in_what_the_server_hides() -> None:
    block = AlertSettings(email_password=SecretStr("mail-password"))
    assert secrets_of(block) == {"mail-password"}
    clear = {"key": "line one\nline two", "url": "http://a", "inner": {"list": ["x-secret", "y"]}}
    hidden = {"key": "********", "url": "http://a", "inner": {"list": ["****", "y"]}}
    assert differing(clear, hidden) == {"line one\nline two", "line one", "line two", "x-secret"}
    assert differing({"info": {"value": "whole-secret"}}, {"info": "****"}) == {"whole-secret"}
    assert differing({"value": "only-secret"}, {"value": "********"}) == {"only-secret"}
    assert pieces("short") == set()


def test_of_a_key_file_the_key_is_secret_and_the_project_is_not() -> None:
    account = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key": "key-of-it",
        "token_uri": "http://token",
        "universe_domain": "googleapis.com",
    }
    for hidden in ("********", dict.fromkeys(account, "********")):
        assert differing({"account": account}, {"account": hidden}) == {"key-of-it"}
