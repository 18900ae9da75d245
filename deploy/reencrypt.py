"""Every block in the Prefect database is encrypted with another key: `deploy/rotate.sh encryption`.

Requires: PREFECT_SERVER_DATABASE_CONNECTION_URL (PostgreSQL), PREFECT_SERVER_ENCRYPTION_KEY, and
NEW_ENCRYPTION_KEY. The server must be stopped. One transaction; repeating it is harmless, as a
block that the new key opens stays as it is.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine


async def reencrypt(url: str, old: str, new: str) -> int:
    """How many blocks were encrypted anew. Raises InvalidToken for one that neither key opens."""
    fernet, rotation = Fernet(new), MultiFernet([Fernet(new), Fernet(old)])
    count = 0
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            rows = await connection.execute(
                text("SELECT id, data::text FROM block_document FOR UPDATE")
            )
            for id_, stored in rows.all():
                token = json.loads(stored)
                if not isinstance(token, str) or _opens(fernet, token):
                    continue
                await connection.execute(
                    text("UPDATE block_document SET data = CAST(:data AS json) WHERE id = :id"),
                    {"data": json.dumps(rotation.rotate(token).decode()), "id": id_},
                )
                count += 1
    finally:
        await engine.dispose()
    return count


def _opens(fernet: Fernet, token: str) -> bool:
    try:
        fernet.decrypt(token)
    except InvalidToken:
        return False
    return True


def main() -> int:
    names = (
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        "PREFECT_SERVER_ENCRYPTION_KEY",
        "NEW_ENCRYPTION_KEY",
    )
    if missing := [name for name in names if not os.environ.get(name)]:
        print(f"not set: {', '.join(missing)}", file=sys.stderr)
        return 1
    try:
        count = asyncio.run(reencrypt(*(os.environ[name] for name in names)))
    except InvalidToken:
        print("a block is encrypted with neither key; nothing was changed", file=sys.stderr)
        return 1
    print(f"{count} blocks are encrypted with the new key")
    return 0


if __name__ == "__main__":
    sys.exit(main())
