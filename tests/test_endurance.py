"""The detectors on whatever may come; `benchmarks/endurance.py` does the same a thousand steps long."""

import gc

import numpy as np
import pytest
import torch

from apiece import methods
from apiece.instances import Instances
from apiece.methods.method import Frame, Method
from apiece.statistics import Statistics

SIZE = (45, 67)
"""No multiple of any stride."""
SMALL = {"SOLO": {"finest": 4, "width": 16, "head_width": 16, "depth": 1, "mask_width": 16, "kernel_width": 16}}
DETECTORS = ("MaskRCNN", "PointRend", "PolarMask", "SOLO", "YOLACT")


def dots(count: int, seed: int = 0) -> Instances:
    """Objects of one pixel."""
    label_map = np.zeros(SIZE, np.uint16)
    label_map.flat[np.random.default_rng(seed).permutation(label_map.size)[:count]] = np.arange(1, count + 1)
    return Instances.from_label_map(label_map, np.arange(count) % 2)


def bars() -> Instances:
    """Long objects over one another and cut off at all borders, the first in a crowd of any class."""
    stack = np.zeros((5, *SIZE), bool)
    stack[0, :9, 50:], stack[1, 20:23, 5:], stack[2, :, 30:32] = True, True, True
    stack[3, 40:, :20], stack[4, 41:, 2:18] = True, True
    return Instances.from_dense(stack, [-1, 1, 0, 1, 1], ignore=np.arange(5) == 0)


def crowd() -> Instances:
    return Instances.from_label_map(np.ones(SIZE, np.uint8), [0], ignore=np.array([True]))


TRUTHS = {
    "none": Instances.empty(SIZE),
    "a pixel": dots(1),
    "2,000 pixels": dots(2000),
    "bars": bars(),
    "whole": Instances.from_label_map(np.ones(SIZE, np.uint8)),
    "crowd": crowd(),
}


def made(name: str) -> Method:
    torch.manual_seed(0)
    method = methods.find(name)(num_classes=2, channels=1, network="tiny", **SMALL.get(name, {}))
    method.adapt(Statistics.of([*TRUTHS.values(), *TRUTHS.values()]))
    return method


def step(method: Method, optimizer: torch.optim.Optimizer, truths: list[Instances]) -> list[str]:
    """Learn from noise with these objects; names of the losses and weights where something is not finite."""
    height, width = (max(truth.size[axis] for truth in truths) for axis in (0, 1))
    images = torch.rand(len(truths), 1, height, width)
    optimizer.zero_grad()
    losses = method.loss(images, truths)
    torch.stack([*losses.values()]).sum().backward()
    optimizer.step()
    wrong = [name for name, loss in losses.items() if not loss.isfinite()]
    return wrong + [
        name for name, one in method.named_parameters() if one.grad is None or not bool(one.grad.isfinite().all())
    ]


def tensors() -> int:
    gc.collect()
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())


@pytest.mark.parametrize("name", DETECTORS)
def test_whatever_comes_is_learned_from_without_faults_and_nothing_is_kept_of_it(name):
    method = made(name)
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    for truth in TRUTHS.values():
        assert step(method, optimizer, [truth]) == []
    small = Instances.from_label_map(np.pad(np.ones((3, 4), np.uint8), 7))
    assert step(method, optimizer, [bars(), small]) == []
    before = tensors()
    for _ in range(3):
        step(method, optimizer, [bars(), crowd()])
    assert tensors() <= before


@pytest.mark.parametrize("name", DETECTORS)
def test_two_thousand_objects_are_decoded(name):
    label_map = np.zeros((160, 200), np.uint16)
    for shift in np.ndindex(2, 2):
        label_map[shift[0] :: 4, shift[1] :: 4] = np.arange(1, 2001).reshape(40, 50)
    truth, frame, method = Instances.from_label_map(label_map), Frame((160, 200), (160, 200)), made(name)
    (found,) = method.decode(method.ideal([truth], [frame]), [frame])
    assert len(found) >= 1990 and found.size == frame.original and bool((found.mask_areas > 0).all())
