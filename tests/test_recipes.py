"""Every recipe file is read as the command reads it, and says where it comes from."""

import functools
from pathlib import Path

import pytest

from apiece import training
from apiece.cli import main
from apiece.data.generated import discs
from apiece.data.label_images import write_label_images
from apiece.data.writing import entries

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_a_recipe_is_accepted_by_the_command(recipe, tmp_path, monkeypatch):
    write_label_images(entries(discs(2, size=(16, 16))), tmp_path / "data", ["disc"])
    seen = {}

    @functools.wraps(training.train)
    def noted(model, data, **options):
        seen.update(options, model=model)
        raise KeyboardInterrupt

    monkeypatch.setattr("apiece.training.train", noted)
    assert main(["train", str(tmp_path / "data"), "--config", str(recipe), "--out", str(tmp_path / "run")]) == 130
    assert seen["model"].num_classes == 1
    stages = seen["stages"] or seen["model"].recipe.stages
    assert sum(stage.share for stage in stages) == pytest.approx(1)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_a_recipe_begins_with_paper_command_hardware_and_number(recipe):
    head = [line for line in recipe.read_text().splitlines() if line.startswith("#")]
    for word in ("Paper:", "Command:", "Hardware:", "Number:"):
        assert any(word in line for line in head), word
