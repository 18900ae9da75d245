"""The parts of the stack: how each is started, when it is ready, and what the rest must know."""

import http.client
import random
import socket
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from urllib.parse import quote, urlsplit

from sandbox.probe import answers, prefect_api
from sources import SOURCES

POOL = "vm"
WORKER = "sandbox"
PORTS = ("token", "gate", "bigquery", "gcs", "s3", "sources", "prefect", "worker", "pages")
DEMO_WORLD = "demo"

# Who sets one of these runs that part elsewhere.
REPLACED_BY = {
    "bigquery": "BIGQUERY_EMULATOR_HOST",
    "gcs": "STORAGE_EMULATOR_HOST",
    "s3": "AWS_ENDPOINT_URL",
    "sources": "SANDBOX_SOURCES_URL",
    "prefect": "PREFECT_API_URL",
}


# Passed on where the caller has them.
OPTIONAL = ("SANDBOX_USGS_FILES", "PREFECT_API_AUTH_STRING")


@dataclass(frozen=True)
class Layout:
    """Where everything is: the repository, the state directory, a port per server, `env`."""

    root: Path
    state: Path
    ports: Mapping[str, int]
    variables: Mapping[str, str] = field(default_factory=dict)

    def url(self, server: str) -> str:
        return f"http://127.0.0.1:{self.ports[server]}"

    @property
    def certificate(self) -> Path:
        """The gate's own key and certificate."""
        return self.state / "gate.pem"

    @property
    def trusted(self) -> Path:
        """The certificates that clients trust: the world's and the gate's."""
        return self.state / "trusted.pem"

    @property
    def service_account(self) -> Path:
        return self.state / "service-account.json"

    @property
    def gcs_data(self) -> Path:
        return self.state / "gcs"


@dataclass(frozen=True)
class Part:
    """One process. `is_ready` gets the Unix time at which it was started."""

    name: str
    command: Callable[[Layout], list[str]]
    is_ready: Callable[[Layout, float], bool]
    address: Callable[[Layout], str]
    environment: Callable[[Layout], dict[str, str]] = lambda _: {}
    # One that hangs; a slow machine is not to fail by it, and one that dies is seen at once.
    ready_within_seconds: float = 600
    answers_within_seconds: float = 5


def choose_ports(earlier: Mapping[str, int], running: Collection[str]) -> dict[str, int]:
    """A port per server: the earlier one while its part runs or it is free, else a new one.

    New ones lie below the ephemeral range, so that no outgoing connection takes them meanwhile.
    """
    ports: dict[str, int] = {}
    for server in PORTS:
        port = earlier.get(server, 0)
        owner = "token" if server == "gate" else server
        while not (port and (owner in running or _is_free(port)) and port not in ports.values()):
            port = random.randrange(20_000, 32_000)
        ports[server] = port
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def variables_for(
    at: Layout, caller: Mapping[str, str], earlier: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Our own values, and those of `env`: the caller's where it has one, else ours.

    What an `earlier` up generated is not the caller's, though it stands in the environment of one
    who has read `env`.
    """
    own = own_variables(at)
    given = {
        name: value
        for name, value in caller.items()
        if name in (*own, *OPTIONAL) and value != earlier.get(name)
    }
    if files := given.get("SANDBOX_USGS_FILES"):
        given["SANDBOX_USGS_FILES"] = str(Path(files).resolve())
    no_proxy = caller.get("NO_PROXY", caller.get("no_proxy", ""))
    return own, own | given | gate_variables(at, given, no_proxy)


def own_variables(at: Layout) -> dict[str, str]:
    """What `env` says where the caller says nothing, the gate aside."""
    return {
        # What a developer's own .env says is for his platform, not for this one.
        "PIPELINES_ENV_FILE": "",
        "GCP_PROJECT": "sandbox-project",
        "GCP_SERVICE_ACCOUNT_FILE": str(at.service_account),
        "BIGQUERY_LOCATION": "US",
        "RAW_DATASET": "raw",
        "GCS_BUCKET": "landing",
        "S3_BUCKET": "landing",
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox-aws-secret-access-key",
        "AWS_REGION": "us-east-1",
        "SOURCES": "",
        "LANDING_RETENTION_DAYS": "7",
        "CATALOG_DIRECTORY": str(at.state / "www" / "catalog"),
        "SPOOL_DIRECTORY": str(at.state / "spool"),
        "SERVING_DIRECTORY": str(at.state / "serving"),
        "PAGES_URL": at.url("pages"),
        "BIGQUERY_EMULATOR_HOST": at.url("bigquery"),
        "STORAGE_EMULATOR_HOST": at.url("gcs"),
        "AWS_ENDPOINT_URL": at.url("s3"),
        "SANDBOX_SOURCES_URL": at.url("sources"),
        **source_variables(at),
        "PREFECT_API_URL": f"{at.url('prefect')}/api",
        "PREFECT_HOME": str(at.state / "prefect"),
        "PREFECT_UI_STATIC_DIRECTORY": str(at.state / "prefect-ui"),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "PREFECT_WORKER_WEBSERVER_PORT": str(at.ports["worker"]),
        "WORKER_HEALTH_URL": f"{at.url('worker')}/health",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "pipelines",
        # dbt keeps what it parsed there.
        "XDG_CACHE_HOME": str(at.state / "cache"),
        # What is known of incidents stands there.
        "XDG_STATE_HOME": str(at.state / "incidents"),
        # A lease in memory is forgotten by a killed server.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
            "prefect.server.concurrency.lease_storage.filesystem"
        ),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # As on a machine: deploy/env/server.env says why.
        "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "PIPELINES_HOME": str(at.root),
    }


def source_variables(at: Layout) -> dict[str, str]:
    """Where each source is: in the demo's world of its stand-in."""
    found: dict[str, str] = {}
    for source in SOURCES:
        stand_in = import_module(f"sandbox.sources.{source}")
        found |= stand_in.variables(f"{at.url('sources')}/{DEMO_WORLD}/{stand_in.SERVICE}")
    return found


def isolated(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without all that `up` would take from its caller, for a stack of one's own."""
    at = Layout(Path(), Path(), dict.fromkeys(PORTS, 0))
    taken = {*own_variables(at), *OPTIONAL, *gate_variables(at, {}, "")}
    return {name: value for name, value in environ.items() if name not in taken}


def gate_variables(at: Layout, given: Mapping[str, str], no_proxy: str) -> dict[str, str]:
    """Everything goes to the gate except this machine, the hosts of addresses that the caller has
    `given`, and those in the caller's own `no_proxy`.

    The caller's proxy itself is not taken over: it leads out.
    """
    hosts = ["127.0.0.1", "localhost", "::1"]
    hosts += [urlsplit(value).hostname or "" for value in given.values() if "://" in value]
    hosts += [host.strip() for host in no_proxy.split(",")]
    direct = ",".join(dict.fromkeys(host for host in hosts if host))
    proxy = at.url("gate")
    return {
        **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), proxy),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), direct),
        "REQUESTS_CA_BUNDLE": str(at.trusted),
    }


def _worker_polls(at: Layout, started_at: float) -> bool:
    try:
        workers = prefect_api(at.variables, "POST", f"/work_pools/{POOL}/workers/filter", {})
    except (OSError, http.client.HTTPException):
        return False
    return any(
        worker["name"] == WORKER
        and worker["status"] == "ONLINE"
        and datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() >= started_at
        for worker in workers
    )


def _python(*arguments: str | Path | int) -> list[str]:
    return [sys.executable, *(str(argument) for argument in arguments)]


def _bucket_stands(at: Layout, _: float) -> bool:
    """The first start comes without a bucket, so each look makes sure of it."""
    return answers(f"{at.url('s3')}/{quote(at.variables['S3_BUCKET'])}", method="PUT")


def _sources_command(at: Layout) -> list[str]:
    command = _python("-m", "sandbox.sources")
    command += ["--port", str(at.ports["sources"]), "--state", str(at.state / "sources")]
    if files := at.variables.get("SANDBOX_USGS_FILES"):
        command += ["--usgs-files", files]
    return command


# In start order; the worker comes last and goes first.
PARTS = (
    Part(
        "token",
        command=lambda at: _python(
            "-m",
            "sandbox.identity",
            *("--port", at.ports["token"]),
            *("--gate-port", at.ports["gate"]),
            *("--service-account", at.service_account),
            *("--certificate", at.certificate),
            *("--egress-log", at.state / "logs" / "egress.log"),
        ),
        is_ready=lambda at, _: (
            answers(f"{at.url('token')}/health") and answers(f"{at.url('gate')}/health")
        ),
        address=lambda at: f"{at.url('token')}/token",
    ),
    Part(
        "bigquery",
        command=lambda at: _python(
            *("-m", "sandbox.bigquery", "start"),
            *("--rest-host", "127.0.0.1", "--rest-port", at.ports["bigquery"]),
            *("--grpc-host", "127.0.0.1", "--grpc-port", 0),
            *("--persistent", "--data-dir", at.state / "bigquery"),
            *("--project", at.variables["GCP_PROJECT"], "--log-format", "json"),
        ),
        environment=lambda at: {
            "BQEMU_GCS_LOCAL_ROOT": str(at.gcs_data / ".cloudstorage"),
            "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",  # Avro's would be downloaded; Parquet stays
        },
        is_ready=lambda at, _: answers(f"{at.url('bigquery')}/readyz"),
        address=lambda at: at.variables["BIGQUERY_EMULATOR_HOST"],
    ),
    Part(
        "gcs",
        command=lambda at: _python(
            *("-m", "sandbox.gcs", "--data-dir", at.gcs_data, "start"),
            *("--host", "127.0.0.1", "--port", at.ports["gcs"]),
            *("--default-bucket", at.variables["GCS_BUCKET"]),
        ),
        is_ready=lambda at, _: answers(f"{at.url('gcs')}/"),
        address=lambda at: at.variables["STORAGE_EMULATOR_HOST"],
    ),
    Part(
        "s3",
        command=lambda at: _python(
            *("-m", "sandbox.s3", "--port", at.ports["s3"], "--data", at.state / "s3.db")
        ),
        is_ready=_bucket_stands,
        address=lambda at: at.variables["AWS_ENDPOINT_URL"],
    ),
    Part(
        "sources",
        command=_sources_command,
        is_ready=lambda at, _: answers(f"{at.url('sources')}/health"),
        address=lambda at: at.variables["SANDBOX_SOURCES_URL"],
    ),
    Part(
        "prefect",
        command=lambda at: _python(
            *("-m", "prefect", "server", "start"),
            *("--host", "127.0.0.1", "--port", at.ports["prefect"]),
        ),
        # Whatever database the caller's own server uses.
        environment=lambda at: {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": (
                f"sqlite+aiosqlite:///{at.variables['PREFECT_HOME']}/prefect.db"
            )
        },
        is_ready=lambda at, _: answers(f"{at.url('prefect')}/api/health"),
        address=lambda at: at.variables["PREFECT_API_URL"],
    ),
    Part(
        "pages",
        command=lambda at: _python(
            *("-m", "dashboards", "serve", at.state / "serving", "--port", at.ports["pages"])
        ),
        is_ready=lambda at, _: answers(f"{at.url('pages')}/health"),
        address=lambda at: at.url("pages"),
    ),
    Part(
        "worker",
        command=lambda _: _python(
            *("-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"),
            *("--name", WORKER, "--install-policy", "never", "--with-healthcheck"),
        ),
        is_ready=_worker_polls,
        answers_within_seconds=40,  # it reports every 30 s, and may have to find the server first
        address=lambda _: f"pool {POOL}",
    ),
)
