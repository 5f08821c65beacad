"""The state of a training between two steps: tensors and plain numbers in one .safetensors file."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from apiece.averaging import Average
from apiece.checkpoint import read_notes, read_tensors, rebuilt, write_tensors
from apiece.errors import CallError, InputError


@dataclass
class State:
    """Where a training stands.

    Attributes:
        step: optimizer steps done.
        samples: crops drawn.
        elapsed: seconds spent, those before an interruption included.
        evaluated: share of the validations done, as their number.
        best: the best validation figure.
        stale: validations since.
        over: nothing is left to do.
        validation_seconds: how long the last validation took.
    """

    step: int = 0
    samples: int = 0
    elapsed: float = 0.0
    evaluated: int = 0
    best: float = float("-inf")
    stale: int = 0
    over: bool = False
    validation_seconds: float = 0.0

    def write(
        self, path: Path, model: nn.Module, optimizer: Optimizer, average: Average, facts: dict[str, Any]
    ) -> None:
        """Save everything that a later run needs to go on as if nothing had happened.

        Args:
            facts: what must be the same when it goes on, and the model's card.
        """
        tensors = {f"weights/{name}": tensor for name, tensor in model.state_dict().items()}
        tensors |= {f"average/{name}": tensor for name, tensor in average.weights.items()}
        tensors |= {f"kept/{name}": tensor for name, tensor in average.kept.items()}
        stored = optimizer.state_dict()
        for number, state in stored["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items() if value is not None}
        # JSON has no infinity.
        numbers = {
            **asdict(self),
            "best": None if self.best == float("-inf") else self.best,
            "average_steps": average.steps,
        }
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        write_tensors(path, tensors, {"training": {"state": numbers, "groups": stored["param_groups"], **facts}})

    def read(self, path: Path, model: nn.Module, optimizer: Optimizer, average: Average) -> dict[str, Any]:
        """Go back to a saved state; returns the facts saved with it.

        Raises:
            InputError: the file is missing, damaged, or of another model.
        """
        tensors, notes = read_tensors(path)
        if "training" not in notes:
            raise InputError(f"{path}: is not the state of a training.")
        try:
            return self._restore(path, tensors, notes["training"], model, optimizer, average)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if isinstance(error, InputError | CallError):
                raise
            raise InputError(_damaged(path, error)) from error

    def _restore(
        self,
        path: Path,
        tensors: dict[str, torch.Tensor],
        facts: dict[str, Any],
        model: nn.Module,
        optimizer: Optimizer,
        average: Average,
    ) -> dict[str, Any]:
        parts: dict[str, dict[str, Any]] = {"weights": {}, "average": {}, "kept": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        try:
            model.load_state_dict(parts["weights"])
        except RuntimeError as error:
            raise CallError(
                f"{path}: holds a training of another model or other options: {str(error).splitlines()[-1].strip()}"
            ) from error
        numbers = facts["state"]
        for field in fields(self):
            setattr(self, field.name, numbers[field.name])
        self.best = float("-inf") if self.best is None else self.best
        average.steps = numbers["average_steps"]
        for name, tensor in average.weights.items():
            tensor.copy_(parts["average"][name])
        average.kept = {
            name: torch.empty_like(average.weights[name]).copy_(tensor) for name, tensor in parts["kept"].items()
        }
        _load_optimizer(optimizer, facts["groups"], parts["optimizer"])
        return {name: facts[name] for name in ("options", "arguments", "card")}


def _damaged(path: Path, error: Exception) -> str:
    return f"{path}: is damaged, or of another version ({error}): begin the training anew, without --resume."


def saved_arguments(path: Path) -> dict[str, Any]:
    """The method's arguments when a state was saved.

    Raises:
        InputError: the file is missing or damaged, or no state.
    """
    notes = read_notes(path)
    if "training" not in notes:
        raise InputError(f"{path}: is not the state of a training.")
    try:
        return {name: rebuilt(value) for name, value in notes["training"]["arguments"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(_damaged(path, error)) from error


def _load_optimizer(optimizer: Optimizer, groups: list[dict[str, Any]], tensors: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, key = name.partition("/")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    # The moments must lie in memory as their weights do (channels last): fused steps go through both side by side.
    for parameter, moments in optimizer.state.items():
        for key, value in moments.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)
