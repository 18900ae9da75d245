"""A stand-in for each module of tests."""

from collections.abc import Iterator

import pytest

from testing.client import stand_in


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with stand_in(tmp_path_factory.mktemp("state")) as address:
        yield address
