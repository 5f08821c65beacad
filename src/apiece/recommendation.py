"""Recommendation: which methods can show these objects at all, and which to try first. Nothing is trained.

annotations, some of them ─▶ Survey, Traits, Statistics ─▶ what the objects are like
fewer of them ─▶ ideal, decoded, of every method ─▶ upper bounds, and what is lost ─▶ `preference` ─▶ commands to run
"""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apiece import methods
from apiece.bounds.bound import Bound, bounds, losses
from apiece.bounds.preference import NEAR, Kind, kind_of, preferred, prior
from apiece.bounds.traits import Traits
from apiece.contact_sheets import with_masks
from apiece.data.dataset import Dataset
from apiece.data.formats import open_dataset
from apiece.devices import best_device
from apiece.errors import CallError, InputError
from apiece.files import write_text
from apiece.journal import plain
from apiece.metrics.report import Report
from apiece.metrics.sheets import Sheet
from apiece.metrics.terminal import written
from apiece.progress import track
from apiece.statistics import Statistics, Survey

LOOKED_AT = 200
"""Images whose objects are looked at: as many as a training adapts a method to."""
FEWEST = 20
"""Images that are looked at however long it takes."""
MINUTES = 25
"""Of the training that is proposed."""
HEAD = ("AP", "AP50", "AP75", "AP small", "accuracy 0.5", "accuracy 0.75", "IoU")
"""Names of `bounds.COLUMNS` for people."""


@dataclass(frozen=True)
class Recommendation:
    """What was found.

    Attributes:
        data: what was looked at.
        options: words of the command line that open it, beside its path.
        survey, traits: what the objects are like.
        bounds: of all methods, in the order of their names.
        hurry: that the time was over before all images were shown, as a sentence.
        device: where a training would run.
    """

    data: Dataset
    options: tuple[str, ...]
    survey: Survey
    traits: Traits
    bounds: tuple[Bound, ...]
    hurry: str
    device: str

    @property
    def shown(self) -> int:
        """Images that were shown by the methods."""
        return max((bound.images for bound in self.bounds), default=0)

    def chosen(self) -> list[str]:
        """The methods that are left by the rule, the first to be tried first."""
        return preferred(self.reached(), prior(self.kind, self.device))

    @property
    def kind(self) -> Kind:
        """Of images, for which an order of methods is known."""
        return kind_of(self.survey, self.traits.shares()["shares_box"])

    def reached(self) -> dict[str, float | None]:
        """The upper bounds, AP, of the methods that have shown all images that any has."""
        return {one.name: one.figures()["AP"] for one in self.bounds if one.images == self.shown}

    def commands(self) -> list[str]:
        """What to run: a training of the first method, and a comparison of the first three."""
        path, chosen = shlex.join([str(self.data.path), *self.options]), self.chosen()
        if not chosen:
            return []
        several = [f"apiece compare {path} --methods {','.join(chosen[:3])} --minutes {MINUTES}"] * (len(chosen) > 1)
        return [f"apiece train {path} --method {chosen[0]} --minutes {MINUTES}", *several]

    def described(self) -> list[str]:
        """What the objects are like, in sentences."""
        survey, sizes = self.survey, self.survey.sizes
        low, middle, high = (survey.diameters.quantile(share) for share in (0.05, 0.5, 0.95))
        (height, width), _ = sizes.most_common(1)[0]
        dimensions = f"{height} x {width}" + (" mostly" if len(sizes) > 1 else "")
        kinds = "one class" if len(survey.classes) == 1 else f"{len(survey.classes)} classes"
        convex = float(np.nanmean(self.traits.convexity))
        name, depth = survey.deepest
        deep = f", up to {depth} on one pixel (image {name})" if depth > 1 else ", no pixel belongs to two"
        return [
            f"{survey.images:,} of {len(self.data):,} images looked at ({dimensions}): {survey.objects:,} objects of "
            f"{kinds}, {survey.per_image.quantile(0.5):,.0f} an image in the median, at most {survey.most[1]:,}{deep}.",
            f"Diameter {middle:.3g} px in the median, 90 % lie between {low:.3g} and {high:.3g} px; convexity "
            f"{convex:.3f} in the mean (1: each object is convex).",
            *([f"Of the objects {'; '.join(self.traits.sentences())}."] if self.traits.sentences() else []),
        ]

    def reasons(self) -> list[str]:
        """Why these methods in this order."""
        chosen = self.chosen()
        if not chosen:
            return ["No method can show these objects: see why beside each."]
        reached = self.reached()
        best = max(value for value in reached.values() if value is not None)
        left = [name for name in reached if name not in chosen]
        sentences = [f"Best bound: AP {best:.3f}. Within {NEAR:g} of it: {', '.join(chosen)}.", self.hurry]
        if left:
            sentences.append(f"The representation is in the way of {', '.join(left)}.")
        if best < 0.5:
            sentences.append("Even the best bound is low: is the annotation sound? `apiece check` tells.")
        objects = {
            "crossing": "crossing objects",
            "crowded": "many or small objects",
            "sparse": "few and large objects",
        }
        where = "no GPU here" if self.device == "cpu" else "a GPU is here"
        sentences.append(
            f"Their order is a prior for images of {objects[self.kind]} ({where}), not a measurement on yours: "
            "`apiece compare` makes one. A bound says what a method could show at best, not what it will learn."
        )
        return [sentence for sentence in sentences if sentence]

    def lines(self) -> list[tuple[str, str]]:
        """Each method, and what it loses and why."""
        return [(bound.name, "; ".join([*([bound.stopped] if bound.stopped else []), *losses(bound)]))
                for bound in self.bounds]  # fmt: skip

    def sheet(self) -> Sheet:
        """The table of upper bounds."""
        rows = []
        for bound in self.bounds:
            spent = round(1000 * bound.seconds / bound.images) if bound.images else None
            rows.append([bound.name, *bound.figures().values(), bound.images, spent])
        return Sheet(
            "Upper bounds: what a network reaches that learns its targets perfectly",
            ("method", *HEAD, "images", "ms"),
            rows,
        )

    def figures(self) -> dict[str, Any]:
        """All of it as one JSON object."""
        words, chosen = dict(self.lines()), self.chosen()
        return {
            "data": str(self.data.path),
            "objects": {**self.survey.figures(), "traits": self.traits.shares(), "looked_at": self.survey.images},
            "bounds": {
                one.name: {
                    **one.figures(),
                    "images": one.images,
                    "seconds": one.seconds,
                    "parameters": one.parameters,
                    "stopped": one.stopped or None,
                    "warnings": sorted(one.warned),
                    "words": words[one.name],
                }
                for one in self.bounds
            },
            "recommended": chosen[0] if chosen else None,
            "order": chosen,
            "reasons": self.reasons(),
            "commands": self.commands(),
        }

    def to_json(self) -> str:
        """The figures as text; what is not a number is null."""
        return Report(plain(self.figures())).to_json()

    def write_json(self, path: Path) -> None:
        """Write them.

        Raises:
            InputError: the file cannot be written.
        """
        write_text(path, self.to_json() + "\n")

    def table(self, width: int | None = None) -> str:
        """For the terminal."""
        chosen = self.chosen()
        why = ["", *(f"{name}: {words}." for name, words in self.lines() if words), ""]
        try_first = [f"Try first: {chosen[0]}" if chosen else "", *self.reasons(), "", *self.commands()]
        return written(self.described(), [self.sheet()], width) + "\n" + written([*why, *try_first], [], width)


def recommend(
    data: Dataset | Path | str,
    *,
    names: Sequence[str] | None = None,
    images: int = 50,
    seconds: float = 40.0,
    seed: int = 0,
    options: Sequence[str] = (),
    quiet: bool = False,
) -> Recommendation:
    """Say which methods can show the objects of a data set, and which to try first. Nothing is trained.

    Args:
        data: images with their objects, or their path; only annotations are read.
        names: of the methods; by default all.
        images: how many the methods show at most.
        seconds: about how long it may take; at least one image is shown by every method.
        seed: of the choice of images.
        options: words of the command line that open the data, for the commands that are proposed.
        quiet: show no progress.

    Raises:
        InputError: something cannot be read, or there are no objects.
        CallError: a method that does not exist, no image, no time.
    """
    if images < 1 or seconds <= 0 or seed < 0:
        raise CallError(f"images {images}, seconds {seconds:g}, seed {seed}: images and seconds must be more than 0.")
    names = tuple(methods.PLACES) if names is None else tuple(names)
    for name in names:
        if name not in methods.PLACES:
            raise CallError(f"there is no method {name!r}; there are {', '.join(methods.PLACES)}.")
    data, begun = data if isinstance(data, Dataset) else open_dataset(data), time.perf_counter()
    order, survey, traits, statistics = _looked_at(data, seed, seconds / 3, quiet)
    started = [Bound.begun(name, data.classes, statistics) for name in names]
    hurry = bounds(data, order[:images], started, max(0.0, seconds - (time.perf_counter() - begun)), quiet)
    return Recommendation(data, tuple(options), survey, traits, tuple(started), hurry, best_device())


def _looked_at(data: Dataset, seed: int, seconds: float, quiet: bool) -> tuple[list[int], Survey, Traits, Statistics]:
    """What the objects are like, and the images with objects in the order in which they were looked at."""
    spread = np.unique(np.linspace(0, len(data) - 1, LOOKED_AT).astype(int)) if len(data) else np.zeros(0, int)
    survey, begun, order = Survey(data.classes), time.perf_counter(), []
    traits, parts = [], []
    for index in track(np.random.default_rng(seed).permutation(spread).tolist(), len(spread), "annotations", quiet):
        if survey.images >= FEWEST and time.perf_counter() - begun > seconds:
            break
        truth = with_masks(data.truth(index))
        survey.add(data.names[index], truth)
        parts.append(Statistics.of([truth]))
        known = truth[~truth.ignore & (truth.mask_areas > 0)]
        if len(known):
            order.append(index)
            traits.append(Traits.of(known))
    if not order:
        raise InputError(f"{data.path}: no objects in the {survey.images} images looked at: there is nothing to go by.")
    return order, survey, Traits.together(traits), Statistics.together(parts)
