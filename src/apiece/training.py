"""Training: a method, a data set and a recipe become a run."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from apiece.data.augment import Augmentation
from apiece.data.dataset import Dataset
from apiece.data.formats import cut
from apiece.data.sampling import Sampling
from apiece.devices import make_fabric
from apiece.errors import CallError
from apiece.methods.method import Method, Stage
from apiece.run import STATE, Run
from apiece.schedule import changed, check_numbers


def train(
    model: Method,
    data: Dataset | Path | str,
    *,
    validation: Dataset | Path | str | float | None = 0.1,
    minutes: float | None = None,
    steps: int | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    start_from: Method | Path | str | None = None,
    stages: Sequence[Stage] | None = None,
    batch_size: int | None = None,
    crop: int | None = None,
    lr: float | None = None,
    optimizer: Literal["adamw", "adam", "sgd"] | None = None,
    weight_decay: float | None = None,
    schedule: Literal["polynomial", "one_cycle", "step", "constant"] | None = None,
    warmup: float | None = None,
    clip: float | None = None,
    average: float | None = None,
    augmentation: Augmentation | Mapping[str, Any] | None = None,
    sampling: Sampling | Mapping[str, Any] | None = None,
    accumulate: int = 1,
    evaluations: int = 10,
    patience: int | None = None,
    precision: str = "auto",
    accelerator: str = "auto",
    devices: int | str = "auto",
    workers: int | None = None,
    seed: int = 0,
    license: str | None = None,
    tensorboard: bool = False,
    quiet: bool = False,
) -> Method:
    """Train a method on a data set and return it at its best, its score threshold chosen on validation data.

    What is None is as the method's recipe says. With `out`, `model.safetensors` there is always the best so far,
    `log.jsonl` the course, and `state.safetensors` what `resume` continues from.

    Args:
        model: the method to train; its limits that follow the data are set unless it starts from another model.
        data: images with their objects, or their path.
        validation: a data set, or the share of `data` to set aside, for choosing threshold and best weights; 0 = none.
        minutes: budget of wall-clock time, validation included; the schedule spans it.
        steps: budget of optimizer steps instead.
        out: folder for model, log and state; None = nothing is written.
        resume: continue the training in `out`.
        start_from: a model (or its file) to begin with; classes are matched by name, new ones are allowed.
        stages: stages of the training, in place of the recipe's.
        batch_size: crops a step in the first stage; in further stages it changes in proportion.
        crop: side of the square crops in the first stage, in pixels; in further stages it changes in proportion. None =
            the recipe's, or twice as wide as large objects where that is more.
        lr: highest learning rate of the first stage; in further stages it changes in proportion.
        optimizer: adamw, adam or sgd.
        weight_decay: of weights, not of biases and normalization.
        schedule: course of the rate within a stage.
        warmup: share of a stage over which the rate rises from a hundredth.
        clip: largest gradient norm; 0 = none.
        average: decay of the weights' moving average (EMA), 0 for none.
        augmentation: changes of images and objects, in place of the recipe's; a mapping changes single ones.
        sampling: which images are seen, and how often; a mapping gives single options.
        accumulate: batches whose gradients make one step.
        evaluations: how often to validate during the training, the end included.
        patience: stop after this many validations without a better one.
        precision: "32-true", "bf16-mixed", "16-mixed"; "auto" = bf16-mixed where the device computes it fast.
        accelerator, devices: as Lightning Fabric takes them; several devices through torchrun.
        workers: processes that load images; None = none on a CPU, else up to 8.
        seed: of initial order, crops and everything random; same seed, same machine, same steps: same weights.
        license: of the weights, for the model file; None = that of the model it starts from, if any.
        tensorboard: write TensorBoard's files to `out` too.
        quiet: show no progress.

    Raises:
        CallError: options that make no sense or contradict each other, or a folder that holds another training.
        InputError: data that cannot be read.
        TrainingError: the loss is not a number.
        Interrupted: stopped by the user; the state is saved.
    """
    given = dict(locals())
    check_numbers(given)
    if steps is not None and minutes is not None:
        raise CallError("give a budget in steps or in minutes, not both.")
    if out is not None and not resume and (Path(out) / STATE).exists():
        raise CallError(f"{out}: holds a training already: resume it, or give another folder.")
    fabric = make_fabric(accelerator, devices, precision)
    training_set, held_out = cut(data, validation)
    first_stage = {"batch_size": batch_size, "crop": crop, "lr": lr}
    fields = ("optimizer", "weight_decay", "schedule", "warmup", "clip", "average")
    recipe = changed(model.recipe, stages, first_stage, {name: given[name] for name in fields})
    if not isinstance(augmentation, Augmentation):
        augmentation = Augmentation(**{**recipe.augmentation, **(augmentation or {})})
    if not isinstance(sampling, Sampling):
        sampling = Sampling(**(sampling or {}))
    if workers is None:
        workers = 0 if fabric.device.type == "cpu" else min(8, os.cpu_count() or 1)
    run = Run(
        model=model,
        data=training_set,
        validation=held_out,
        recipe=recipe,
        follow=crop is None and stages is None,
        augmentation=augmentation,
        sampling=sampling,
        fabric=fabric,
        out=None if out is None else Path(out),
        seconds=None if minutes is None else minutes * 60,
        steps=recipe.steps if steps is None and minutes is None else steps,
        accumulate=accumulate,
        evaluations=evaluations,
        patience=patience,
        seed=seed,
        workers=workers,
    )
    run.begin(resume, start_from)
    model.card.license = model.card.license if license is None else license
    return run.loop(run.progress(quiet, tensorboard))
