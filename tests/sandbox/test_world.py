"""What all stand-ins share, without a server."""

from pathlib import Path
from typing import Any

import pytest

from sandbox.sources.usgs_earthquake import UsgsWorld
from sandbox.sources.world import ControlError


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        ('{"seed": 7, "clock_offset_ms": 5}', "clock_offset_ms: Extra inputs are not permitted"),
        ('{"seed": 7', "Invalid JSON"),
    ],
)
def test_a_file_that_is_no_recipe_is_replaced_by_a_new_world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stored: str, why: str
) -> None:
    path = tmp_path / "main.usgs.json"
    path.write_text(stored)
    assert UsgsWorld(path).recipe.seed == 1
    said = capsys.readouterr().err
    assert str(path) in said and "a new world" in said and why in said
    assert UsgsWorld(path).recipe.seed == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("action", "payload", "status", "message"),
    [
        ("melt", {}, 404, "no control action 'melt'"),
        ("world", {"size": -1}, 400, "size: Input should be greater than or equal to 0"),
        ("settings", {"seed": True}, 400, "seed: Input should be a valid integer"),
        ("plant", {}, 400, "features: Missing required argument"),
        ("clock", {"now_ms": 1, "offset_ms": 1}, 400, "now_ms or offset_ms, not both"),
    ],
)
def test_an_action_that_cannot_be_done_changes_nothing_and_says_why(
    tmp_path: Path, action: str, payload: dict[str, Any], status: int, message: str
) -> None:
    world = UsgsWorld(tmp_path / "main.usgs.json")
    before = world.recipe.model_copy(deep=True)
    with pytest.raises(ControlError, match=message) as refusal:
        world.control(action, payload)
    assert refusal.value.status == status
    assert world.recipe == before


def test_changes_come_again_after_a_restart_and_after_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "main.usgs.json"
    world = UsgsWorld(path)
    world.control("world", {"seed": 7, "size": 100})
    world.control("advance", {})
    truth = world.truth()
    assert UsgsWorld(path).truth() == truth
    world.control("settings", {"cap": 50})
    assert world.truth() == truth
    assert world.control("settings", {"seed": 8})["stages"] == 1
    assert world.truth() != truth
