"""The second stage: what each proposed region is, and where exactly its box lies.

Paper: Girshick, Fast R-CNN, ICCV 2015, https://arxiv.org/abs/1504.08083; sampling as in Ren et al., Faster R-CNN.

    features of regions R C 7 7 -> convolutions and linear layers -> logits R 1+K (background first), deltas R K 4
    boxes of each class by their deltas -> NMS within each class -> the surest are found
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from apiece.parts import anchors as boxes_at
from apiece.parts.detection_rules import Rules
from apiece.parts.true_boxes import Truth

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Of a box's shifts and sides relative to its region: their spread becomes about one."""
BACKGROUND, UNKNOWN = -1, -2
"""In place of a class."""


class BoxHead(nn.Module):
    """Classes and boxes from the features of regions.

    Args:
        width: channels of the features.
        classes: how many there are, without the background.
        side: of the features.
        convolutions: 3 x 3, before the linear layers.
        linear: how many linear layers.
        hidden: their width.
        norm: whether batch norm follows the convolutions.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        side: int = 7,
        convolutions: int = 0,
        linear: int = 2,
        hidden: int = 1024,
        norm: Literal["none", "batch"] = "none",
    ):
        super().__init__()
        self.convolutions = nn.Sequential(*(rectified(width, width, norm) for _ in range(convolutions)))
        inside = [width * side**2, *[hidden] * (linear - 1)]
        self.linear = nn.Sequential(*(nn.Sequential(nn.Linear(one, hidden), nn.ReLU(True)) for one in inside))
        self.background = nn.Linear(hidden, 1)
        self.classes = nn.Linear(hidden, classes)
        self.deltas = nn.Linear(hidden, 4 * classes)
        for layer, deviation in ((self.background, 0.01), (self.classes, 0.01), (self.deltas, 0.001)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Float[Tensor, "R C s s"]) -> tuple[Float[Tensor, "R D"], Float[Tensor, "R K 4"]]:
        """Logits of background and classes, and the deltas of each class, in float32."""
        hidden = self.linear(self.convolutions(features).flatten(1))
        logits = torch.cat([self.background(hidden), self.classes(hidden)], 1)
        return logits.float(), self.deltas(hidden).float().unflatten(1, (-1, 4))


def rectified(inside: int, outside: int, norm: Literal["none", "batch"]) -> nn.Sequential:
    """A 3 x 3 convolution, batch norm if wanted, and a rectifier."""
    convolution = nn.Conv2d(inside, outside, 3, padding=1, bias=norm == "none")
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    if norm == "batch":
        return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU(True))
    nn.init.zeros_(convolution.bias)  # pyright: ignore[reportArgumentType]
    return nn.Sequential(convolution, nn.ReLU(True))


class Found(NamedTuple):
    """The boxes found in one image, the surest first."""

    boxes: Float[Tensor, "Q 4"]
    scores: Float[Tensor, " Q"]
    labels: Int[Tensor, " Q"]


def detect(
    logits: Float[Tensor, "R D"],
    deltas: Float[Tensor, "R K 4"],
    regions: Float[Tensor, "R 4"],
    size: list[int],
    rules: Rules,
) -> Found:
    """The boxes of one image: of each region and class above the score, without those that NMS removes."""
    probabilities = logits.softmax(1)[:, 1:]
    row, label = (probabilities > rules.score_threshold).nonzero().unbind(1)
    boxes = boxes_at.decode(deltas[row, label], regions[row], WEIGHTS)
    boxes = clip_boxes_to_image(boxes, (size[0], size[1]))
    large = remove_small_boxes(boxes, rules.smallest_box)
    boxes, scores, label = boxes[large], probabilities[row, label][large], label[large]
    kept = batched_nms(boxes, scores, label, rules.nms)[: rules.max_objects]
    return Found(boxes[kept], scores[kept], label[kept])


class Sampled(NamedTuple):
    """The regions that one image is learned from.

    Attributes:
        boxes: of the regions.
        labels: their class, `BACKGROUND` or `UNKNOWN`.
        objects: the true object that each is matched to; of no meaning but for classes.
    """

    boxes: Float[Tensor, "R 4"]
    labels: Int[Tensor, " R"]
    objects: Int[Tensor, " R"]


def sample_regions(proposals: Float[Tensor, "P 4"], truth: Truth, rules: Rules, generator: torch.Generator) -> Sampled:
    """Some of the proposals and the true boxes: those whose IoU with a true box reaches the limit are of its class.

    Others are background, unless too much of them lies where nothing is known. Where none is left there is one of
    unknown class, the whole image.
    """
    regions = torch.cat([proposals, truth.boxes])
    match = boxes_at.matches(regions, truth.boxes)
    positive = match.overlap >= rules.region_iou
    negative = ~positive
    if truth.ignored is not None:
        negative &= boxes_at.share_within(regions, truth.ignored) < rules.ignored_share
    taken, others = boxes_at.sample(positive, negative, rules.region_samples, rules.region_positive, generator)
    if not len(taken) + len(others):
        whole = regions.new_tensor([[0, 0, *truth.size[::-1]]])
        return Sampled(whole, torch.full_like(whole[:, 0], UNKNOWN, dtype=torch.long), whole[:, 0].long())
    objects = match.objects[torch.cat([taken, others])]
    labels = torch.full_like(objects, BACKGROUND)
    labels[: len(taken)] = truth.labels[objects[: len(taken)]]
    return Sampled(regions[torch.cat([taken, others])], labels, objects)


def box_losses(
    logits: Float[Tensor, "R D"],
    deltas: Float[Tensor, "R K 4"],
    sampled: Sequence[Sampled],
    truths: Sequence[Truth],
    rules: Rules,
) -> dict[str, Tensor]:
    """ "class", cross entropy, and "box", smooth L1 of the true class's deltas: both means over all sampled regions."""
    labels, regions = (torch.cat([getattr(one, name) for one in sampled]) for name in ("labels", "boxes"))
    aims = [truth.boxes[one.objects[one.labels >= 0]] for one, truth in zip(sampled, truths, strict=True)]
    count = max(int((labels != UNKNOWN).sum()), 1)
    wrong = functional.cross_entropy(logits, labels + 1, ignore_index=UNKNOWN + 1, reduction="sum")
    of_class = (labels >= 0).nonzero().squeeze(1)
    target = boxes_at.encode(torch.cat(aims), regions[of_class], WEIGHTS)
    own = deltas[of_class, labels[of_class]]
    error = functional.smooth_l1_loss(own, target, reduction="sum", beta=rules.box_beta)
    return {"class": wrong / count, "box": error / count}
