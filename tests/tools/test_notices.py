from __future__ import annotations

from tools.notices import FILE, locked, page


def test_the_page_names_every_locked_package_with_its_licence() -> None:
    assert len(locked()) > 100
    assert FILE.read_text() == page()
