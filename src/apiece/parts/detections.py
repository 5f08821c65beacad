"""What detectors with a mask for each box put out: B Q boxes, scores, labels, soft masks; a score of 0 is no object."""

from collections.abc import Sequence
from warnings import warn

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from apiece import draw
from apiece.instances import Instances
from apiece.parts.anchors import matches
from apiece.parts.batching import filled
from apiece.parts.box_masks import mask_targets, objects_of
from apiece.parts.paste import Resized
from apiece.parts.true_boxes import Truth

CPU = torch.device("cpu")


def decoded(outputs: dict[str, Tensor], frames: Sequence[Resized]) -> list[Instances]:
    """The objects of each image at its original size."""
    arrays = {name: rows.detach().float().cpu().numpy() for name, rows in outputs.items()}
    found = []
    for index, frame in enumerate(frames):
        boxes, scores, labels, soft = (arrays[name][index] for name in ("boxes", "scores", "labels", "masks"))
        taken = scores > 0
        places = boxes[taken].astype(np.float64) * _scale(frame)
        found.append(objects_of(soft[taken], places, frame.original, labels[taken].astype(np.int64), scores[taken]))
    return found


def announce_limit(scores: Float[Tensor, "B Q"], limit: int, threshold: float) -> None:
    """Warn where an image has as many sure objects as there may be: others may have been left out."""
    most = int((scores >= threshold).sum(1).max()) if len(scores) else 0
    if most >= limit:
        warn(f"an image has {most} sure objects, which is max_objects: there may be more.", stacklevel=3)


def _scale(frame: Resized) -> Float[ndarray, "4"]:
    """From network to original size, for `x1 y1 x2 y2`."""
    return np.tile(np.array(frame.original[::-1]) / np.array(frame.size[::-1]), 2)


def ideal(targets: Sequence[Instances], frames: Sequence[Resized], side: int, nms: float) -> dict[str, Tensor]:
    """The outputs for the true boxes, with the share of each cell that the object covers as its mask.

    Args:
        side: cells along a mask.
        nms: IoU above which one of two boxes of a class is lost; as all are sure, that is the later one.
    """
    from torchvision.ops import batched_nms

    rows = []
    for target, frame in zip(targets, frames, strict=True):
        truth = Truth.of(target, CPU)
        scale = torch.from_numpy(_scale(frame)).float()
        boxes, scores = truth.boxes / scale, torch.ones(len(truth.boxes))
        left = batched_nms(boxes, scores, truth.labels, nms).sort()[0]
        soft = mask_targets(truth.masks, left, truth.boxes[left], side, binary=False)
        rows.append({"boxes": boxes[left], "scores": scores[left], "labels": truth.labels[left], "masks": soft})
    return filled(rows)


def corrected(
    outputs: dict[str, Tensor], targets: Sequence[Instances], known: str, overlap: float = 0.5
) -> dict[str, Tensor] | None:
    """The outputs with the true "boxes", "masks" or "classes" of the objects whose boxes overlap a true one enough.

    None for any other part, or one that the outputs lack. Targets are at network size.
    """
    name = {"boxes": "boxes", "masks": "masks", "classes": "labels"}.get(known)
    if name not in outputs:
        return None
    changed = outputs[name].clone()
    for index, target in enumerate(targets):
        truth = Truth.of(target, outputs["boxes"].device)
        match = matches(outputs["boxes"][index].float(), truth.boxes)
        taken = (match.overlap >= overlap) & (outputs["scores"][index] > 0)
        objects, boxes = match.objects[taken], outputs["boxes"][index, taken].float()
        side = changed.shape[-1]
        if known == "boxes":
            changed[index, taken] = truth.boxes[objects].to(changed.dtype)
        elif known == "classes":
            changed[index, taken] = truth.labels[objects]
        else:
            own = mask_targets(truth.masks, objects, boxes, side, binary=False)
            changed[index, taken] = own.to(changed.dtype)
    return {**outputs, name: changed}


def pictures(outputs: dict[str, Tensor], frames: Sequence[Resized]) -> list[dict[str, UInt8[ndarray, "_ _ 3"]]]:
    """For each image "boxes", as bright as they are sure, and "soft masks", each in its box, the surest on top."""
    shown = []
    for index, frame in enumerate(frames):
        boxes, scores, soft = (outputs[name][index].float().cpu().numpy() for name in ("boxes", "scores", "masks"))
        canvas = [np.zeros(frame.size, np.float32) for _ in range(2)]
        limit = np.tile(frame.size[::-1], 2)
        for one in np.argsort(scores, kind="stable").tolist():
            x1, y1, x2, y2 = np.rint(boxes[one]).astype(int).clip(0, limit).tolist()
            if scores[one] <= 0 or x2 <= x1 or y2 <= y1:
                continue
            rows, columns = (
                ((np.arange(count) + 0.5) / count * soft.shape[1]).astype(int) for count in (y2 - y1, x2 - x1)
            )
            canvas[1][y1:y2, x1:x2] = soft[one][np.ix_(rows, columns)]
            for edge in (np.s_[y1:y2, x1], np.s_[y1:y2, x2 - 1], np.s_[y1, x1:x2], np.s_[y2 - 1, x1:x2]):
                canvas[0][edge] = scores[one]
        shown.append({"boxes": draw.heat(canvas[0], 0, 1), "soft masks": draw.heat(canvas[1], 0, 1)})
    return shown
