"""Training: what a run learns, keeps, stops for, and how exactly it goes on."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from apiece import checkpoint
from apiece.data.formats import cut
from apiece.data.generated import crossing_sticks, discs
from apiece.data.label_images import write_label_images
from apiece.data.writing import entries
from apiece.errors import CallError, InputError, Interrupted, TrainingError
from apiece.instances import Instances
from apiece.methods.method import Recipe, Stage
from apiece.methods.spatial_embedding import SpatialEmbedding
from apiece.resumption import State
from apiece.run import MODEL, STATE
from apiece.schedule import changed, fitted, make_optimizer, rate, stage_at
from apiece.training import train

DATA = discs(12, size=(32, 32))
FAST = {"quiet": True, "validation": 0.25, "evaluations": 2, "batch_size": 2, "crop": 32}


def tiny(**options) -> SpatialEmbedding:
    torch.manual_seed(3)
    return SpatialEmbedding(**{"num_classes": 1, "channels": 1, "network": "tiny", **options})


def weights(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_same_seed_gives_the_same_weights():
    first, second, other = (weights(train(tiny(), DATA, steps=4, seed=seed, **FAST)) for seed in (1, 1, 2))
    assert same(first, second)
    assert not same(first, other)


class Stop(SpatialEmbedding):
    """Asks to be stopped, as Ctrl-C does, before one of its steps."""

    stop_before = 5
    begun = 0

    def at(self, progress: float) -> None:
        super().at(progress)
        self.begun += 1
        if self.begun == self.stop_before:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_an_interrupted_run_goes_on_to_the_very_same_weights(tmp_path, optimizer, precision):
    options = {**FAST, "optimizer": optimizer, "precision": precision, "average": 0.9, "clip": 1.0, "steps": 9}
    straight = train(tiny(), DATA, out=tmp_path / "straight", **options)

    torch.manual_seed(3)
    stopped = Stop(1, channels=1, network="tiny")
    with pytest.raises(Interrupted, match="--resume"):
        train(stopped, DATA, out=tmp_path / "stopped", **options)
    assert State().read(tmp_path / "stopped" / STATE, tiny(), *_fresh(tiny(), optimizer))["options"]["steps"] == 9
    resumed = train(tiny(), DATA, out=tmp_path / "stopped", resume=True, **options)

    assert same(weights(straight), weights(resumed))
    files = [checkpoint.load(tmp_path / name / MODEL) for name in ("straight", "stopped")]
    assert same(weights(files[0]), weights(files[1]))
    assert files[0].card.threshold == files[1].card.threshold
    logs = [_steps(tmp_path / name) for name in ("straight", "stopped")]
    assert logs[0][-1] == logs[1][-1] == 9


def _fresh(model, optimizer):
    from apiece.averaging import Average

    return make_optimizer(model, replace(Recipe(), optimizer=optimizer)), Average(model, 0.9)


def _steps(folder) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_dropout_is_the_same_after_resuming(tmp_path):
    """ERFNet draws random numbers in each step: they must not depend on what was drawn before."""
    data, options = discs(6, size=(16, 16)), {**FAST, "crop": 16, "steps": 4, "precision": "32-true"}

    def made(kind):
        torch.manual_seed(0)
        return kind(1, channels=1, network="erfnet", min_size=4)

    straight = train(made(SpatialEmbedding), data, **options)
    stopped = made(Stop)
    stopped.stop_before = 2
    with pytest.raises(Interrupted):
        train(stopped, data, out=tmp_path, **options)
    assert same(weights(straight), weights(train(made(SpatialEmbedding), data, out=tmp_path, resume=True, **options)))


def test_resuming_with_other_options_is_refused(tmp_path):
    train(tiny(), DATA, steps=2, out=tmp_path, **FAST)
    with pytest.raises(CallError, match="seed"):
        train(tiny(), DATA, steps=2, out=tmp_path, resume=True, seed=5, **FAST)
    with pytest.raises(CallError, match="another model"):
        train(tiny(network="unet"), DATA, steps=2, out=tmp_path, resume=True, **FAST)


def test_a_finished_run_resumed_does_nothing_more(tmp_path):
    first = train(tiny(), DATA, steps=3, out=tmp_path, **FAST)
    again = train(tiny(), DATA, steps=3, out=tmp_path, resume=True, **FAST)
    assert same(weights(first), weights(again))


def test_a_training_does_not_write_over_another(tmp_path):
    train(tiny(), DATA, steps=1, out=tmp_path, **FAST)
    with pytest.raises(CallError, match="holds a training already"):
        train(tiny(), DATA, steps=1, out=tmp_path, **FAST)


def test_resuming_without_a_state_says_so(tmp_path):
    with pytest.raises(InputError, match=STATE):
        train(tiny(), DATA, steps=2, out=tmp_path / "nothing", resume=True, **FAST)


def test_two_budgets_are_one_too_many():
    with pytest.raises(CallError, match="not both"):
        train(tiny(), DATA, steps=2, minutes=1, **FAST)


@pytest.mark.parametrize(
    "given",
    [
        {"lr": -1.0},
        {"crop": 0},
        {"minutes": float("nan")},
        {"minutes": float("inf")},
        {"clip": -1.0},
        {"average": 1.0},
        {"weight_decay": -1.0},
    ],
)
def test_numbers_that_make_no_sense_are_refused(given):
    with pytest.raises(CallError, match=f"{next(iter(given))} .*: must be"):
        train(tiny(), DATA, **given)


def test_stages_that_make_no_sense_are_refused():
    with pytest.raises(CallError, match="lr 0.0 of a stage: must be more than 0"):
        Stage(lr=0.0)


def test_a_validation_set_is_read_with_the_training_sets_classes():
    """Of one class each they may differ in name; of several, in order."""
    other = replace(discs(3, (32, 32), seed=1), classes=("cell",))
    trained = train(tiny(), DATA, steps=2, **{**FAST, "validation": other})
    assert trained.card.classes == DATA.classes and "AP" in trained.card.metrics["validation"]
    _, held_out = cut(replace(DATA, classes=("rod", "cell")), other)
    assert held_out.classes == ("rod", "cell") and set(held_out.truth(0).labels) == {1}
    with pytest.raises(CallError, match="has classes that .* lacks: cell"):
        cut(replace(DATA, classes=("rod", "disc")), other)


def test_a_budget_in_minutes_is_kept(tmp_path):
    train(tiny(), DATA, minutes=0.05, out=tmp_path, **FAST)
    card = checkpoint.load(tmp_path / MODEL).card
    assert card.training["steps"] > 3
    assert card.training["seconds"] < 12


class NotFinite(SpatialEmbedding):
    """Its loss is infinite at the third step."""

    calls = 0

    def loss(self, images, targets):
        self.calls += 1
        losses = super().loss(images, targets)
        return {**losses, "seed": losses["seed"] / 0} if self.calls == 3 else losses


def test_a_loss_that_is_not_finite_names_step_terms_and_images():
    with pytest.raises(TrainingError) as caught:
        train(NotFinite(1, channels=1, network="tiny"), DATA, steps=5, **FAST)
    message = str(caught.value)
    assert "step 3" in message and "seed inf" in message and "instance" in message
    assert sum(name in message for name in DATA.names) == 2


def test_training_lowers_the_loss_and_finds_discs(tmp_path):
    data = discs(24, size=(48, 48), objects=(1, 4))
    options = {
        "quiet": True,
        "validation": discs(6, size=(48, 48), seed=7, objects=(1, 4)),
        "batch_size": 4,
        "crop": 48,
    }
    model = train(tiny(), data, steps=150, lr=5e-3, evaluations=1, out=tmp_path, **options)
    figures = model.card.metrics["validation"]
    assert figures["accuracy@0.50"] > 0.5
    assert 0 < model.card.threshold < 1
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [sum(record["losses"].values()) for record in records if "losses" in record]
    assert losses[-1] < 0.8 * losses[0]


def test_the_best_weights_by_validation_are_kept_not_the_last(tmp_path, monkeypatch):
    """Whatever the figures are, the model returned is the one that had the best."""
    judged = iter([0.2, 0.9, 0.1, 0.3])
    seen = []

    def figures(model, data):
        value = next(judged)
        seen.append((value, weights(model)))
        return {"accuracy": value, "threshold": value}

    monkeypatch.setattr("apiece.run.judged", figures)
    model = train(tiny(), DATA, steps=8, out=tmp_path, **{**FAST, "evaluations": 4})
    best = max(seen, key=lambda entry: entry[0])
    assert same(weights(model), best[1])
    assert same(weights(checkpoint.load(tmp_path / MODEL)), best[1])
    assert model.card.threshold == 0.9


def test_patience_ends_a_run_that_gets_no_better(tmp_path, monkeypatch):
    values = iter([0.5, 0.4, 0.3, 0.9, 0.9])
    monkeypatch.setattr("apiece.run.judged", lambda model, data: {"accuracy": next(values), "threshold": 0.5})
    train(tiny(), DATA, steps=10, out=tmp_path, patience=2, **{**FAST, "evaluations": 5})
    assert checkpoint.load(tmp_path / MODEL).card.training["steps"] == 6


def test_without_validation_the_last_averaged_weights_are_kept(tmp_path):
    model = train(tiny(), DATA, steps=2, out=tmp_path, **{**FAST, "validation": None})
    assert model.card.metrics == {}
    assert same(weights(model), weights(checkpoint.load(tmp_path / MODEL)))


def test_starting_from_a_model_keeps_what_follows_the_data_and_known_classes():
    source = train(tiny(), DATA, steps=2, **FAST)
    data = replace(DATA, classes=("stone", "disc"))
    model = tiny(num_classes=2)
    assert model.arguments["min_size"] is None
    trained = train(model, data, steps=1, start_from=source, lr=1e-12, **{**FAST, "validation": None, "average": 0.0})
    old, new = source.network.heads[1].bias.view(1, 4), trained.network.heads[1].bias.view(2, 4)
    assert trained.card.classes == ("stone", "disc")
    torch.testing.assert_close(new[1], old[0])
    assert not torch.allclose(new[0], old[0])
    torch.testing.assert_close(trained.network.stem[0][0].weight, source.network.stem[0][0].weight)
    assert trained.arguments["min_size"] == source.arguments["min_size"] is not None
    assert trained.arguments["coordinate_step"] == source.arguments["coordinate_step"] is not None


def test_what_a_source_left_open_follows_the_data():
    source, model = tiny(), tiny()
    before = source.network.heads[0].weight.clone()
    train(model, DATA, steps=1, start_from=source, lr=1e-12, **{**FAST, "validation": None, "average": 0.0})
    assert model.arguments["min_size"] is not None
    torch.testing.assert_close(model.network.heads[0].weight, before)


SQUARE = np.pad(np.ones((140, 140), bool), 26)
LARGE = replace(
    DATA,
    read_image=lambda _: (SQUARE * np.uint8(200))[..., None],
    read_truth=lambda _: Instances.from_label_map(SQUARE.astype(np.int32), labels=[0]),
    read_size=lambda _: SQUARE.shape,
)
"""An object of 140 pixels in each image of 192."""


def test_the_network_is_as_deep_as_large_objects_need_and_is_kept(tmp_path):
    model = SpatialEmbedding(1, channels=1)
    quick: dict[str, Any] = {"quiet": True, "validation": 0, "steps": 1}
    train(model, LARGE, out=tmp_path / "run", **quick)
    assert model.arguments["widths"] == (24, 32, 64, 96, 128)
    assert model.stride == 32
    assert same(weights(checkpoint.load(tmp_path / "run" / MODEL)), weights(model))
    further = train(SpatialEmbedding(1, channels=1), DATA, start_from=model, **quick)
    assert further.arguments["widths"] == model.arguments["widths"]
    given = train(SpatialEmbedding(1, channels=1, widths=(8, 8)), LARGE, **quick)
    assert given.arguments["widths"] == (8, 8)
    assert given.arguments["detail"] == 0


def test_a_run_whose_network_followed_the_data_goes_on_to_the_very_same_weights(tmp_path):
    options: dict[str, Any] = {**FAST, "crop": 64, "steps": 6, "evaluations": 1}
    whole = train(SpatialEmbedding(1, channels=1), LARGE, **options)
    with pytest.raises(Interrupted):
        train(Stop(1, channels=1), LARGE, out=tmp_path, **options)
    resumed = train(SpatialEmbedding(1, channels=1), LARGE, out=tmp_path, resume=True, **options)
    assert same(weights(whole), weights(resumed))


def test_crops_are_twice_as_wide_as_large_objects_where_the_images_are():
    recipe = Recipe(stages=(Stage(share=0.5), Stage(share=0.5, crop=512, batch_size=3)))
    first, second = fitted(recipe, large=150, side=800).stages
    assert (first.crop, first.batch_size) == (288, 2)
    assert second == recipe.stages[1]
    assert fitted(recipe, large=150, side=160).stages[0].crop == 160
    assert fitted(recipe, large=150, side=160).stages[0].batch_size == 5
    assert fitted(recipe, large=30, side=800) == recipe
    assert fitted(recipe, large=3000, side=8000).stages[0].crop == 512


def test_crops_that_are_given_stay(tmp_path):
    sides: list[int] = []
    cases: list[dict[str, Any]] = [{}, {"crop": 64}, {"stages": [Stage(crop=96)]}]
    for options in cases:
        model = train(tiny(), LARGE, steps=1, validation=0, quiet=True, out=tmp_path / str(len(sides)), **options)
        sides.append(model.card.training["recipe"]["stages"][0]["crop"])
    assert sides == [192, 64, 96]


def test_accumulated_batches_use_as_many_samples(tmp_path):
    train(tiny(), DATA, steps=3, accumulate=2, out=tmp_path, **FAST)
    state = State()
    model = tiny()
    state.read(tmp_path / STATE, model, *_fresh(model, "adamw"))
    assert state.samples == 3 * 2 * 2


def test_frozen_batch_norm_keeps_its_statistics():
    stages = (Stage(share=0.5, crop=32, batch_size=2), Stage(share=0.5, crop=32, batch_size=2, freeze_batch_norm=True))
    options = {**FAST, "validation": None, "average": 0.0, "batch_size": None, "crop": None}
    model = train(tiny(), DATA, steps=4, stages=stages, **options)
    half = train(tiny(), DATA, steps=4, stages=(replace(stages[0], share=1.0),), **options)
    counts = {name: int(tensor) for name, tensor in model.state_dict().items() if name.endswith("batches_tracked")}
    assert set(counts.values()) == {2}
    assert {int(t) for name, t in half.state_dict().items() if name.endswith("batches_tracked")} == {4}


def test_a_curriculum_sees_the_share_done_before_each_step():
    seen = []

    class Seeing(SpatialEmbedding):
        def at(self, progress):
            seen.append(progress)

    train(Seeing(1, channels=1, network="tiny"), DATA, steps=4, **FAST)
    assert seen == [0, 0.25, 0.5, 0.75]


def test_images_without_objects_can_be_trained_on():
    empty = discs(4, size=(32, 32), objects=(0, 0))
    assert all(len(sample.truth) == 0 for sample in empty)
    model = train(tiny(), empty, steps=2, **FAST)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_ignored_regions_can_be_trained_on():
    data = crossing_sticks(4, size=(48, 48))

    def truth(index: int) -> Instances:
        return data.truth(index).replace(ignore=np.arange(len(data.truth(index))) == 0)

    model = train(tiny(channels=3), replace(data, read_truth=truth), steps=2, **{**FAST, "crop": 48})
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_the_wrong_number_of_classes_is_refused_with_their_names():
    with pytest.raises(CallError, match=r"3 classes.*disc"):
        train(tiny(num_classes=3), DATA, steps=1, **FAST)


def test_signals_are_given_back_after_training():
    before = signal.getsignal(signal.SIGINT)
    train(tiny(), DATA, steps=1, **FAST)
    assert signal.getsignal(signal.SIGINT) is before


def test_training_works_in_a_thread_where_signals_cannot_be_caught():
    done = []
    thread = threading.Thread(target=lambda: done.append(train(tiny(), DATA, steps=1, **FAST)))
    thread.start()
    thread.join()
    assert len(done) == 1


def test_stages_follow_each_other_by_their_shares():
    recipe = Recipe(stages=(Stage(share=0.7, lr=1.0), Stage(share=0.1, lr=2.0), Stage(share=0.2, lr=3.0)))
    assert [stage_at(recipe, done)[0] for done in (0, 0.69, 0.7, 0.79, 0.8, 0.99, 1.0)] == [0, 0, 1, 1, 2, 2, 2]
    number, stage, inside = stage_at(recipe, 0.9)
    assert (number, stage.lr) == (2, 3.0) and inside == pytest.approx(0.5)


def test_rates_of_each_schedule():
    def at(schedule, *places, **fields):
        recipe = Recipe(stages=(Stage(lr=1.0),), schedule=schedule, **fields)
        return [pytest.approx(rate(recipe, place), abs=1e-9) for place in places]

    assert at("constant", 0, 0.5, 1) == [1, 1, 1]
    assert at("polynomial", 0, 0.5, 1) == [1, 0.5**0.9, 0]
    assert at("step", 0, 0.7, 0.9) == [1, 0.1, 0.01]
    assert at("one_cycle", 0.1, 1) == [1, 1e-3]
    assert at("constant", 0, 0.1, 0.2, warmup=0.2) == [0.01, 0.505, 1]


def test_changed_recipes_keep_the_stages_proportions():
    recipe = Recipe(
        stages=(Stage(share=0.5, crop=500, batch_size=12, lr=5e-4), Stage(share=0.5, crop=1000, batch_size=2, lr=5e-5))
    )
    new = changed(recipe, None, {"lr": 1e-3, "crop": 250, "batch_size": None}, {"clip": 1.0, "average": None})
    assert [stage.lr for stage in new.stages] == pytest.approx([1e-3, 1e-4])
    assert [stage.crop for stage in new.stages] == [250, 500]
    assert [stage.batch_size for stage in new.stages] == [12, 2]
    assert new.clip == 1.0 and new.average == recipe.average
    with pytest.raises(CallError, match="add up"):
        changed(recipe, (Stage(share=0.5),), dict.fromkeys(("lr", "crop", "batch_size")), {})


def test_biases_and_norms_are_not_decayed():
    optimizer = make_optimizer(tiny(), replace(Recipe(), weight_decay=0.1))
    decayed, others = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1 and all(weight.ndim > 1 for weight in decayed["params"])
    assert others["weight_decay"] == 0 and all(weight.ndim == 1 for weight in others["params"])


@pytest.mark.slow
def test_two_devices_train_together_through_torchrun(tmp_path):
    write_label_images(entries(DATA), tmp_path / "data", DATA.classes)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "apiece", "train"]
    options = "--method SpatialEmbedding --method.network tiny --steps 4 --evaluations 2 --crop 32 --batch_size 2"
    call = [*torchrun, "data", *options.split(), "--accelerator", "cpu", "--devices", "2", "--out", "run"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    state = State()
    model = tiny()
    state.read(tmp_path / "run" / STATE, model, *_fresh(model, "adamw"))
    assert (state.step, state.samples) == (4, 4 * 2 * 2)
