"""The GCS of this machine: gcp-storage-emulator, and one call of the real service that it lacks.

`python -m sandbox.gcs` takes the emulator's own arguments. The call is `buckets.getStorageLayout`,
which says where a bucket is to whoever may list its objects.
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Any

from gcp_storage_emulator import server  # type: ignore[import-untyped]
from gcp_storage_emulator.__main__ import main  # type: ignore[import-untyped]

LAYOUT = r"^/storage/v1/b/(?P<bucket_name>[-.\w]+)/storageLayout$"


def layout(request: Any, response: Any, storage: Any) -> None:
    """As https://cloud.google.com/storage/docs/json_api/v1/buckets/getStorageLayout has it."""
    name = request.params["bucket_name"]
    bucket = storage.buckets.get(name)
    if bucket is None:
        response.status = HTTPStatus.NOT_FOUND
        return
    places = {key: bucket[key] for key in ("location", "locationType")}
    response.json({"kind": "storage#storageLayout", "bucket": name, **places})


if __name__ == "__main__":
    server.HANDLERS = ((LAYOUT, {"GET": layout}), *server.HANDLERS)
    sys.exit(main())
