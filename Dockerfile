# The image of a Cloud Run job, when one VM is outgrown (docs/operations.md): the locked environment
# and the code, where the VM has them, so that the same deployments run in both.
#
#   docker build --tag IMAGE .
FROM python:3.11-slim-bookworm AS environment
WORKDIR /opt/data-pipelines/current
RUN python -m venv .venv
COPY requirements.lock .
RUN .venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock

FROM python:3.11-slim-bookworm
RUN useradd --system --create-home --home-dir /var/lib/data-pipelines --shell /usr/sbin/nologin pipelines
WORKDIR /opt/data-pipelines/current
COPY --from=environment /opt/data-pipelines/current/.venv .venv
COPY prefect.yaml requirements.lock ./
COPY alerting alerting
COPY blocks blocks
COPY core core
COPY dashboards dashboards
COPY dbt dbt
COPY deploy deploy
COPY flows flows
COPY migration migration
COPY repair repair
COPY runs runs
COPY serving serving
COPY sources sources
COPY stores stores
COPY tasks tasks
# Not the user's: a flow run cannot change its own code.
RUN .venv/bin/python -m compileall -q alerting blocks core dashboards deploy flows migration repair runs serving sources stores tasks
ENV PATH=/opt/data-pipelines/current/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    PIPELINES_HOME=/opt/data-pipelines/current \
    PREFECT_HOME=/var/lib/data-pipelines/prefect \
    XDG_CACHE_HOME=/var/lib/data-pipelines/cache \
    PREFECT_LOGGING_EXTRA_LOGGERS=pipelines \
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY=60 \
    DBT_SEND_ANONYMOUS_USAGE_STATS=false \
    DO_NOT_TRACK=1 \
    PYTHONUNBUFFERED=1
USER pipelines
CMD ["prefect", "version"]
