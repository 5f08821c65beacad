"""The training of a trial, in a process of its own: so its peak of memory is its own."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from apiece import methods
from apiece.methods.method import Method, Stage
from apiece.parts.normalization import Normalization
from apiece.training import train
from apiece.trials.timing import machine, peak_device_memory, peak_memory
from apiece.trials.trial import Trial, noting

POINTS = 200
"""Points of a curve of losses that are kept."""


def train_trial(trial: Trial) -> None:
    """Train, or go on with a training, and note down what is known of it, also where it fails."""
    noting(trial, _train)


def _train(trial: Trial) -> None:
    model, options = built(trial), dict(trial.options.training)
    if options.get("stages") is not None:
        options["stages"] = [Stage(**one) for one in options["stages"]]
    earlier = trial.cell().get("training", {})
    try:
        train(
            model,
            trial.parts.training,
            validation=trial.parts.validation,
            **vars(trial.budget),
            **options,
            out=trial.run,
            resume=trial.state_file.is_file(),
            # A trial's process is started with code, not a file: it could not start others for more devices.
            devices=1,
            seed=trial.seed,
            quiet=trial.quiet,
        )
    finally:
        peaks = {"memory": peak_memory(), "device_memory": peak_device_memory()}
        # Over all sittings; there may be no GPU.
        peaks = {name: max(peak or 0, earlier.get(name) or 0) or peak for name, peak in peaks.items()}
        facts = {**peaks, **curves(trial.log_file)}
        trial.note(training={**facts, **model.card.training, "validation": model.card.metrics.get("validation", {})})
    weights = sum(parameter.numel() for parameter in model.parameters())
    size = trial.model_file.stat().st_size
    trial.note(status="trained", parameters=weights, file_size=size, threshold=model.card.threshold, machine=machine())


def built(trial: Trial) -> Method:
    """The method as its options say, for the data's classes and channels."""
    data, arguments = trial.parts.training, dict(trial.options.arguments)
    if isinstance(arguments.get("normalization"), dict):
        arguments["normalization"] = Normalization(**arguments["normalization"])
    # An alpha channel tells a network nothing.
    channels = {2: 1, 4: 3}.get(data.channels(), data.channels())
    kind: Any = methods.find(trial.name)
    return kind(num_classes=len(data.classes), channels=channels, **arguments)


def curves(log: Path) -> dict[str, Any]:
    """A training's course: `curve`, the validations, and `losses`, the mean of each term; both over `seconds`."""
    records: list[dict[str, Any]] = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        # The last line may be cut off.
        with suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    judged = [{"seconds": one["seconds"], "step": one["step"], **one["figures"]} for one in records if "figures" in one]
    losses = [{"seconds": one["seconds"], **one["losses"]} for one in records if "losses" in one]
    return {"curve": judged, "losses": losses[:: max(1, -(-len(losses) // POINTS))]}
