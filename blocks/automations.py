"""`python -m blocks.automations`: the server's own watch over runs, upserted by name.

Run it after `python -m deploy.apply`. Repeating it changes nothing; one that was removed here is
removed there.

- A run whose heartbeat stops is ended as Crashed: nobody else can when the run, its worker and
  perhaps the server have died.
- A run that ends badly starts the flow `watch`, which tells whom it concerns. Matched by the type
  of the state: a flow that times out is `TimedOut` by name, and Failed by type.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from uuid import UUID

import httpx
from prefect.automations import (
    ChangeFlowRunState,
    EventTrigger,
    Posture,
    ResourceSpecification,
    RunDeployment,
)
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound

from tasks.server import server_url

PREFIX = "pipelines: "
WATCH = "watch/alerts"
# A run of it that fails is left to the watchdog, not to another `watch`.
WATCH_FLOW = WATCH.partition("/")[0]
HEARTBEAT_SECONDS = 60
# Shorter than a server's restart, healthy runs would be ended just after it.
DEAD_AFTER = timedelta(seconds=600)
ONE_WATCH_PER = timedelta(seconds=60)
RUNS = "prefect.flow-run.*"


def automations(watch_id: UUID) -> list[AutomationCore]:
    return [
        AutomationCore(
            name=f"{PREFIX}dead run",
            description="A run without a heartbeat for ten minutes is ended as Crashed.",
            trigger=EventTrigger(
                after={"prefect.flow-run.heartbeat"},
                expect={RUNS},
                match=ResourceSpecification({"prefect.resource.id": [RUNS]}),
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=DEAD_AFTER,
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED,
                    message=f"no heartbeat for {DEAD_AFTER.total_seconds() / 60:.0f} minutes; "
                    "the run's process is dead",
                )
            ],
        ),
        AutomationCore(
            name=f"{PREFIX}run ended badly",
            description="A run that failed or crashed starts watch/alerts, once a minute at most.",
            trigger=EventTrigger(
                expect={RUNS},
                match=ResourceSpecification(
                    {
                        "prefect.resource.id": [RUNS],
                        "prefect.state-type": ["FAILED", "CRASHED"],
                    }
                ),
                # By the flow: a run gets its own name only when its code has been imported.
                match_related=ResourceSpecification(
                    {
                        "prefect.resource.role": ["flow"],
                        "prefect.resource.name": [f"!{WATCH_FLOW}"],
                    }
                ),
                posture=Posture.Reactive,
                threshold=1,
                within=ONE_WATCH_PER,
            ),
            actions=[RunDeployment(source="selected", deployment_id=watch_id)],
        ),
    ]


def upsert(client: SyncPrefectClient) -> list[str]:
    """The server has these automations, each once, and no other of ours; what was done.

    One that is as it should be is left alone: an update would forget the runs that it waits for.
    Raises ObjectNotFound while `watch/alerts` is not deployed.
    """
    wanted = {one.name: one for one in automations(client.read_deployment_by_name(WATCH).id)}
    done = []
    for standing in client.read_automations():
        if not standing.name.startswith(PREFIX):
            continue
        automation = wanted.pop(standing.name, None)
        if automation is None:
            client.delete_automation(standing.id)
            done.append(f"removed {standing.name}")
        elif content(automation) == content(standing):
            done.append(f"unchanged {standing.name}")
        else:
            automation.enabled = standing.enabled  # a person's pause stays
            client.update_automation(standing.id, automation)
            done.append(f"updated {standing.name}")
    for name, automation in wanted.items():
        client.create_automation(automation)
        done.append(f"created {name}")
    return done


def content(automation: AutomationCore) -> str:
    """What an automation does, to compare."""
    names = AutomationCore.model_fields.keys() - {"enabled"}
    told = automation.model_dump(mode="json", include=set(names))
    return json.dumps(told, sort_keys=True, default=sorted)


def main() -> int:
    if not (api := server_url()):
        return 1
    try:
        with get_client(sync_client=True) as client:
            for line in upsert(client):
                print(line)
    except ObjectNotFound:
        print(f"{WATCH} is not deployed: run python -m deploy.apply first", file=sys.stderr)
        return 1
    except httpx.TransportError as error:
        print(f"{api}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
