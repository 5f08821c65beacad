"""One run of a training: the loop, what it keeps, and how it goes on after an interruption."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from apiece import checkpoint
from apiece.averaging import Average
from apiece.data.augment import Augmentation
from apiece.data.dataset import Dataset
from apiece.data.loading import Batch, Batches
from apiece.data.sampling import Sampling, spread
from apiece.errors import CallError, Interrupted, TrainingError
from apiece.evaluation import CHOSEN_BY, judged
from apiece.interruption import Interruption
from apiece.methods.method import Card, Method, Recipe, Stage
from apiece.progress import Progress, say
from apiece.resumption import State, saved_arguments
from apiece.schedule import fitted, make_optimizer, set_rate, stage_at
from apiece.statistics import Statistics

MODEL, STATE = "model.safetensors", "state.safetensors"
"""Files of a training's folder."""


@dataclass
class Run:
    """One training: what it works with, whether its crops `follow` the objects' sizes, and where it stands."""

    model: Method
    data: Dataset
    validation: Dataset | None
    recipe: Recipe
    follow: bool
    augmentation: Augmentation
    sampling: Sampling
    fabric: Fabric
    out: Path | None
    seconds: float | None
    steps: int | None
    accumulate: int
    evaluations: int
    patience: int | None
    seed: int
    workers: int

    @property
    def state_file(self) -> Path:
        """Where an interrupted training is kept."""
        if self.out is None:
            raise CallError("a training is resumed in its output folder: give --out.")
        return self.out / STATE

    def begin(self, resume: bool, start_from: Method | Path | str | None) -> None:
        """Set the model up: from scratch, from another model, or as a training in `out` left it."""
        torch.manual_seed(self.seed)
        if self.model.num_classes != len(self.data.classes):
            names = f"{len(self.data.classes)}: {', '.join(self.data.classes)}"
            raise CallError(f"the model has {self.model.num_classes} classes, but {self.data.path} has {names}.")
        self.model.card.classes = self.data.classes
        self.order = self.sampling.order(self.data, quiet=self.fabric.global_rank > 0)
        statistics = Statistics.of(truths := spread(self.data))
        if resume:
            self.model.rebuild(**saved_arguments(self.state_file))
        else:
            self.model.adapt(statistics)
        if start_from is not None and not resume:
            source = start_from if isinstance(start_from, Method) else checkpoint.load(start_from)
            fresh = checkpoint.adopt(self.model, source)
            say(f"started from {type(source).__name__}" + (f", {len(fresh)} weights of which are new" if fresh else ""))
        if self.follow:
            self.recipe = fitted(self.recipe, statistics.large, max(max(truth.size) for truth in truths))
        self.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.module, self.optimizer = self.fabric.setup(self.model, make_optimizer(self.model, self.recipe))
        self.module.mark_forward_method("loss")
        self.average = Average(self.model, self.recipe.average)
        self.state = State()
        if resume:
            self._resume(self.state_file)

    def progress(self, quiet: bool, tensorboard: bool) -> Progress:
        """What the first of the devices shows and logs."""
        first = self.fabric.global_rank == 0
        return Progress(
            self.steps,
            self.seconds,
            out=self.out if first else None,
            start=self.state.step,
            elapsed=self.state.elapsed,
            quiet=quiet or not first,
            tensorboard=tensorboard and first,
        )

    def loop(self, progress: Progress) -> Method:
        """The training itself."""
        self.begun = time.monotonic() - self.state.elapsed
        self.done = self._done()
        with progress, Interruption(self.fabric) as interruption:
            while not self.state.over and self.done < 1:
                number, stage, _ = stage_at(self.recipe, self.done)
                batches = iter(self._batches(stage))
                self._set_mode()
                while not self.state.over and self.done < 1 and stage_at(self.recipe, self.done)[0] == number:
                    # Dropout's randomness is a function of seed and step: resuming need not know the past.
                    torch.manual_seed(self.seed + 1_000_003 * (self.state.step + 1) + self.fabric.global_rank)
                    self.model.at(self.done)
                    lr = set_rate(self.optimizer, self.recipe, self.done)
                    losses = self._step(batches)
                    self.average.update()
                    self.state.step += 1
                    self.state.elapsed = time.monotonic() - self.begun
                    progress.update(self.state.step, losses, lr)
                    self.done = self._done()
                    if self.validation and self.done * self.evaluations >= self.state.evaluated + 1:
                        self._validate(progress)
                    if interruption.wanted():
                        raise Interrupted(self._interrupted())
        self._finish()
        return self.model.eval()

    def _done(self) -> float:
        """The share of the budget that is spent, the same on all devices."""
        if self.steps is not None:
            return self.state.step / self.steps
        # The last validation has to fit in too.
        budget = max((self.seconds or 0) - self.state.validation_seconds, 1e-9)
        return min(1.0, self.fabric.broadcast((time.monotonic() - self.begun) / budget))

    def _batches(self, stage: Stage) -> Batches:
        return Batches(
            self.data,
            self.model.preparation,
            self.augmentation,
            stage.crop,
            stage.batch_size,
            stride=self.model.stride,
            order=self.order,
            seed=self.seed,
            start=self.state.samples,
            workers=self.workers,
            rank=self.fabric.global_rank,
            ranks=self.fabric.world_size,
            pinned=self.fabric.device.type == "cuda",
        )

    def _set_mode(self) -> None:
        """Training mode, batch-norm statistics frozen where the stage says so."""
        self.model.train()
        if stage_at(self.recipe, self.done)[1].freeze_batch_norm:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _step(self, batches: Iterator[Batch]) -> dict[str, torch.Tensor]:
        """One optimizer step."""
        losses: dict[str, torch.Tensor] = {}
        for number in range(self.accumulate):
            batch = next(batches)
            self.state.samples += len(batch.names) * self.fabric.world_size
            images = batch.images.to(self.fabric.device, memory_format=torch.channels_last)
            with self.fabric.no_backward_sync(self.module, enabled=number < self.accumulate - 1):
                losses = self.module.loss(images, batch.targets)
                total = torch.stack([*losses.values()]).sum()
                if not bool(total.isfinite()):
                    raise TrainingError(_not_finite(self.state.step + 1, losses, batch.names))
                self.fabric.backward(total / self.accumulate)
        if self.recipe.clip:
            self.fabric.clip_gradients(self.module, self.optimizer, max_norm=self.recipe.clip, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return losses

    def _validate(self, progress: Progress) -> None:
        """Judge the averaged weights; keep them if they are the best so far."""
        begun = time.monotonic()
        self.state.evaluated = math.floor(self.done * self.evaluations + 1e-9)
        with self.average.applied(), self.fabric.autocast():
            # All devices must come to the same conclusions.
            figures = self.fabric.broadcast(judged(self.model, self.validation))  # pyright: ignore[reportArgumentType]
        if figures[CHOSEN_BY] > self.state.best:
            self.state.best, self.state.stale = figures[CHOSEN_BY], 0
            self.model.card.threshold = figures["threshold"]
            self.model.card.metrics = {"validation": figures}
            self.average.keep()
        else:
            self.state.stale += 1
        if self.patience is not None and self.state.stale >= self.patience:
            self.state.over = True
        self._set_mode()
        self.state.validation_seconds = self.fabric.broadcast(time.monotonic() - begun)
        progress.report(self.state.step, figures)
        if self.done < 1 and not self.state.over:
            self._save()

    def _finish(self) -> None:
        """The best weights, or the last ones where there is nothing to judge by."""
        self.state.over = True
        self._save()
        self.average.impose()

    def _save(self) -> None:
        """The state to go on from, and the best model so far."""
        if self.out is None or self.fabric.global_rank:
            return
        data = {"path": self.data.path.name, "images": len(self.data), "fingerprint": self.data.fingerprint()}
        self.model.card.data = data
        seconds = round(self.state.elapsed, 1)
        self.model.card.training = {"steps": self.state.step, "seconds": seconds, "recipe": asdict(self.recipe)}
        arguments = checkpoint.plain_arguments(self.model)
        facts = {"options": self._options(), "arguments": arguments, "card": asdict(self.model.card)}
        self.state.write(self.out / STATE, self.model, self.optimizer, self.average, facts)
        if self.average.kept or self.state.over:
            with self.average.applied(best=True):
                checkpoint.save(self.model, self.out / MODEL)

    def _interrupted(self) -> str:
        self._save()
        if self.out is None:
            return f"stopped at step {self.state.step}; nothing is kept, as there is no output folder."
        return f"stopped at step {self.state.step}; the state is in {self.out / STATE}: go on with --resume."

    def _options(self) -> dict[str, Any]:
        """What must be the same for a resumed training to be the same training."""
        plain = {name: getattr(self, name) for name in ("seed", "steps", "accumulate", "evaluations")}
        fields = {name: asdict(getattr(self, name)) for name in ("recipe", "augmentation", "sampling")}
        return json.loads(json.dumps({**plain, **fields, "data": self.data.fingerprint()}))

    def _resume(self, path: Path) -> None:
        facts = self.state.read(path, self.model, self.optimizer, self.average)
        arguments = {name: checkpoint.rebuilt(value) for name, value in facts["arguments"].items()}
        other = [name for name, value in self._options().items() if facts["options"].get(name) != value]
        other += [f"method.{name}" for name, value in arguments.items() if self.model.arguments[name] != value]
        if other:
            raise CallError(f"{path.parent}: was begun with other {', '.join(other)}: resume it with the same.")
        self.model.card = Card.from_json(facts["card"])
        say(f"resumed at step {self.state.step}")


def _not_finite(step: int, losses: dict[str, torch.Tensor], names: list[str]) -> str:
    terms = ", ".join(f"{name} {loss.item():g}" for name, loss in losses.items())
    where = f"the loss is not finite at step {step} ({terms}) with images {', '.join(names)}"
    return f"{where}: look at these, or train with a lower lr or --clip 1."
