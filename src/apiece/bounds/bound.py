"""Bounds: the best score that each method's representation can reach, from `decode(ideal(truth))`; nothing is trained.

an image's objects ─▶ model.ideal (after NMS, where the method has one) ─▶ model.decode ─▶ scored as any finding is

These are bounds for a network that learns its targets perfectly. One that errs may be lucky: boxes that are a little
off can escape a suppression that takes one of two true ones.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from apiece import methods
from apiece.bounds.excerpts import Excerpt, excerpt
from apiece.bounds.traits import Traits
from apiece.data.dataset import Dataset
from apiece.instances import Instances
from apiece.methods.method import Method
from apiece.metrics.coco import EVERY
from apiece.metrics.table import Table
from apiece.prediction import ordered
from apiece.progress import Line
from apiece.scoring import Scorer
from apiece.statistics import Statistics

WORST = 4
"""Images that are kept for pictures of what is lost."""
LEAST = 4.0
"""Seconds: of less time than this every method would take half, and none is called slow for it."""
COLUMNS = ("AP", "AP50", "AP75", "APs", "accuracy50", "accuracy75", "iou")
"""The figures of a bound."""


class Loss(NamedTuple):
    """What a representation makes of one image's objects.

    Attributes:
        found: the objects as they can be shown.
        ious: of each known object the highest IoU with a found one.
        mean: of the IoUs.
    """

    excerpt: Excerpt
    found: Instances
    ious: Float[ndarray, " N"]
    mean: float


@dataclass
class Bound:
    """How well one method's representation can show the objects of some images.

    Attributes:
        name: of the method.
        model: built and adapted as for a training; None where that failed.
        scorer: the images so far.
        ious: of each image's objects, see `Loss`.
        traits: of the same objects.
        seconds: spent on them.
        stopped: why there is no figure, or one of fewer images than there might be.
        warned: what the method said.
        worst: the images that lose most.
    """

    name: str
    model: Method | None
    scorer: Scorer
    ious: list[Float[ndarray, " N"]] = field(default_factory=list)
    traits: list[Traits] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str = ""
    warned: set[str] = field(default_factory=set)
    worst: list[Loss] = field(default_factory=list)

    @classmethod
    def begun(cls, name: str, classes: Sequence[str], statistics: Statistics) -> "Bound":
        """A method as `train` would build it with its defaults."""
        # COCO's AP counts 100 found objects in an image: that there are more is no fault of a method.
        options = {"kinds": ("segm",), "max_detections": (1, 10, EVERY)}
        scorer = Scorer(classes, ("coco", "matching"), coco_options=options)
        bound = cls(name, None, scorer)
        try:
            kind: Any = methods.find(name)
            model = kind(num_classes=len(classes))
            model.adapt(statistics)
            bound.model = model
        # One method that fails must not end what is said of the others.
        except Exception as error:
            bound.stopped = f"cannot be built: {_sentence(error)}"
        return bound

    @property
    def images(self) -> int:
        """How many were shown."""
        return len(self.ious)

    @property
    def seen(self) -> Traits:
        """All objects that were shown."""
        return Traits.together(self.traits)

    @property
    def reached(self) -> Float[ndarray, " N"]:
        """Their IoUs."""
        return np.concatenate([np.zeros(0), *self.ious])

    def add(self, excerpt: Excerpt, traits: Traits) -> None:
        """Show one image's objects; where that fails the method is stopped, and says why."""
        model, begun = self.model, time.perf_counter()
        if model is None or self.stopped:
            return
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = shown(model, excerpt.truth)
                record = self.scorer.compared([(excerpt.name, found, excerpt.truth)])[0]
            self.warned |= {str(one.message) for one in caught}
        except Exception as error:
            self.stopped = f"failed at image {excerpt.name}: {_sentence(error)}"
            return
        self.seconds += time.perf_counter() - begun
        table = Table.of([record])
        table = table.where(table.same_class)
        ious = np.zeros(len(excerpt.truth))
        np.maximum.at(ious, table.truth, table.iou)
        ious = ious[~excerpt.truth.ignore]
        self.scorer.records.append(record)
        self.ious.append(ious)
        self.traits.append(traits)
        if len(ious) and ious.min() < 0.95:
            self.worst.append(Loss(excerpt, found, ious, float(ious.mean())))
            self.worst = sorted(self.worst, key=lambda loss: loss.mean)[:WORST]

    def figures(self) -> dict[str, Any]:
        """The best scores that can be reached: `COLUMNS`; None where there is nothing to say."""
        if not self.images:
            return dict.fromkeys(COLUMNS)
        figures, reached = self.scorer.report().figures, self.reached
        coco, matching = figures["coco"]["segm"], figures["matching"]
        return {
            **{key: coco[key] for key in ("AP", "AP50", "AP75", "APs")},
            "accuracy50": matching["0.50"]["accuracy"],
            "accuracy75": matching["0.75"]["accuracy"],
            "iou": float(reached.mean()) if len(reached) else None,
        }

    @property
    def parameters(self) -> int:
        """Weights of the default network."""
        return 0 if self.model is None else sum(weights.numel() for weights in self.model.parameters())


def bounds(data: Dataset, order: Sequence[int], started: Sequence[Bound], seconds: float, quiet: bool) -> str:
    """Show one image after another by all methods, so that all have the same images, until the time is over.

    A method that alone takes half of the time is stopped. At least one image with objects is shown, if there is one.

    Returns:
        That the time was over, as a sentence; nothing where it was enough.
    """
    begun, longest, done = time.perf_counter(), 0.0, 0
    with Line(quiet) as line:
        for count, index in enumerate(order):
            before = time.perf_counter()
            if all(bound.stopped for bound in started):
                break
            if done and before - begun + longest > seconds:
                return f"The time was over after {done} of {len(order)} images: more --seconds make the bounds surer."
            part = excerpt(data, index)
            if part is None:
                continue
            traits = Traits.of(part.known)
            for bound in started:
                bound.add(part, traits)
                if bound.seconds > max(seconds, LEAST) / 2 and not bound.stopped:
                    bound.stopped = f"slow: {bound.seconds / bound.images:.2g} s an image"
            done += 1
            longest = max(longest, time.perf_counter() - before)
            line.show(f"upper bounds {count + 1}/{len(order)}  {part.name}")
    return ""


@torch.no_grad()
def shown(model: Method, truth: Instances) -> Instances:
    """The objects as a perfect network of this method would show them, the surest first."""
    frame = model.frame(truth.size)
    return ordered(model.decode(model.ideal([truth], [frame]), [frame])[0])


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def losses(bound: Bound) -> Iterator[str]:
    """What this representation loses, and what those objects have in common, in words."""
    reached, seen = bound.reached, bound.seen
    if not len(reached):
        return
    gone, coarse = reached < 0.5, (reached >= 0.5) & (reached < 0.75)
    for which, words in ((gone, "cannot be shown (IoU below 0.5)"), (coarse, "only coarsely (IoU 0.5 to 0.75)")):
        if which.any():
            why = seen.explained(which)
            yield f"{which.sum():,} of {len(which):,} {words}" + (f": {why}" if why else "")
    if not gone.any() and not coarse.any():
        yield f"all {len(reached):,} objects can be shown, with a mean IoU of {reached.mean():.3f}"
