"""Loading: an endless stream of training batches, each sample a function of seed, epoch and index alone.

number of the sample ─▶ (epoch, index) ─▶ image and objects, normalized (kept in RAM) ─▶ augmented ─▶ padded batch
  start, start + 1, …     in order            in this process or in worker processes        one thread ahead
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy import ndarray

from apiece.data.augment import Augmentation
from apiece.data.dataset import Dataset
from apiece.data.examples import Example, ExampleMaker
from apiece.data.sampling import Order
from apiece.data.workers import Workers
from apiece.errors import CallError, InputError
from apiece.instances import Instances

if TYPE_CHECKING:
    import torch

AHEAD = 2
"""Batches that are made while the network is at work on another."""


class Batch(NamedTuple):
    """What a training step sees.

    Attributes:
        images: B C H W, float32, normalized; zero below and to the right of each image's valid part.
        targets: each image's objects; `targets[i].size` is its valid size.
        names: each image's name in the data set.
    """

    images: torch.Tensor
    targets: list[Instances]
    names: list[str]


@dataclass(frozen=True)
class Batches:
    """Batches without end, shuffled anew each epoch; every image is used once an epoch unless `order` says otherwise.

    What the k-th sample of a run looks like depends on the seed and k alone, not on batch size, workers or where the
    run was resumed: `start=k` goes on as if nothing had happened. Each `iter()` begins at `start`. Leaving the loop
    ends the workers.

    Attributes:
        data: the images; read in worker processes if there are any, so it must be picklable then.
        prepare: H W C image of the file -> C H W float32, normalized (`Method.normalize`); picklable too.
        augmentation: None = only crops, cut anywhere.
        crop: side of the square crops in pixels, None = whole images.
        batch_size: images a batch (on each rank).
        stride: the sides of batches are multiples of it.
        order: how often each image is seen (`Sampling.order`); None = once an epoch.
        seed: of the order and of all augmentation.
        start: samples already used, on all ranks together.
        steps: how many batches to give, None = without end.
        workers: processes that read and augment; 0 = a thread of this one.
        cache: bytes of RAM for images that need not be read again, on this rank altogether; 0 = none.
        rank, ranks: this process takes each `ranks`-th batch, beginning with number `rank`.
        pinned: put images in page-locked memory, for fast copies to a GPU.
        start_method: of the workers ("fork", "spawn", "forkserver"); None = the system's.

    Raises:
        InputError: there is no image in the data set; while iterating, a file cannot be read or does not fit the model.
        CallError: a number that makes no sense.
    """

    data: Dataset
    prepare: Callable[[ndarray], ndarray]
    augmentation: Augmentation | None = None
    crop: int | None = None
    batch_size: int = 8
    stride: int = 1
    order: Order | None = None
    seed: int = 0
    start: int = 0
    steps: int | None = None
    workers: int = 0
    cache: int = 1 << 30
    rank: int = 0
    ranks: int = 1
    pinned: bool = False
    start_method: str | None = None

    def __post_init__(self) -> None:
        if not len(self.data):
            raise InputError(f"{self.data.path}: there are no images to train on.")
        lowest = {"crop": 1, "batch_size": 1, "stride": 1, "seed": 0, "start": 0, "steps": 0, "workers": 0, "cache": 0}
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise CallError(f"{name} is {value}, but must be at least {least}.")

    def __iter__(self) -> Iterator[Batch]:
        maker = ExampleMaker(
            self.data,
            self.prepare,
            self.augmentation or Augmentation.none(),
            self.crop,
            self.seed,
            self.cache // max(self.workers, 1),
            occupied=self.order is not None and self.order.occupied,
        )
        # Processes are started before the thread: a copy of a process with threads may hang.
        workers = Workers(maker, self.workers, self.start_method) if self.workers else None
        thread = ThreadPoolExecutor(1, thread_name_prefix="apiece loading")
        try:
            examples = self._through(workers) if workers else (maker(*place) for place in self._places())
            steps = count() if self.steps is None else range(self.steps)
            futures = (thread.submit(self._next_batch, examples) for _ in steps)
            coming = deque(islice(futures, AHEAD))
            while coming:
                batch = coming.popleft().result()
                coming.extend(islice(futures, 1))
                yield batch
        finally:
            thread.shutdown(cancel_futures=True)
            if workers:
                workers.close()

    def _places(self) -> Iterator[tuple[int, int, int]]:
        """Epoch, index, and how often it was drawn before in this epoch, of this rank's samples from `start` on."""
        plan = self.order or Order.plain(len(self.data))
        steps = count() if self.steps is None else range(self.steps)
        drawn, order, copies = -1, np.zeros(0, np.int64), np.zeros(0, np.int64)
        for step in steps:
            first = self.start + (step * self.ranks + self.rank) * self.batch_size
            for number in range(first, first + self.batch_size):
                epoch, place = divmod(number, plan.length)
                if epoch != drawn:
                    drawn, (order, copies) = epoch, plan.epoch(self.seed, epoch)
                yield epoch, int(order[place]), int(copies[place])

    def _through(self, workers: Workers) -> Iterator[Example]:
        """Examples made by worker processes, in order.

        An image always goes to the same worker, so that it is kept in RAM once, and its neighbors do too: their
        annotations lie on the same pages of memory. Unless there are too few images for all.
        """
        faithful = len(self.data) >= 8 * self.workers
        jobs = (
            (place[1] * self.workers // len(self.data) if faithful else turn, place)
            for turn, place in enumerate(self._places())
        )
        return workers.results(jobs, ahead=max(2 * self.batch_size, 4 * self.workers))

    def _next_batch(self, examples: Iterator[Example]) -> Batch:
        return collate(islice(examples, self.batch_size), self.stride, pinned=self.pinned)


def collate(examples: Iterable[Example], stride: int = 1, *, pinned: bool = False) -> Batch:
    """Pad images with zeros to the largest of them, rounded up to the stride."""
    import torch

    examples = list(examples)
    sizes = np.array([example.image.shape for example in examples])
    channels, height, width = sizes.max(0).tolist()
    height, width = (-(-side // stride) * stride for side in (height, width))
    images = torch.zeros((len(examples), channels, height, width), pin_memory=pinned)
    for image, example in zip(images.numpy(), examples, strict=True):
        _, height, width = example.image.shape
        image[:, :height, :width] = example.image
    return Batch(images, [example.truth for example in examples], [example.name for example in examples])
