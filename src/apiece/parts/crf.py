"""A fully connected CRF: labels agree where pixels lie near each other and look alike; mean field, five steps or so.

Paper: Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NeurIPS 2011.

    energies L H W ─softmax─▶ marginals ─▶ sums over all pixels, near and alike ─▶ marginals ─▶ ...

The authors' lattice is quick, but its sums are wrong by several percent, and mean field is bistable: small errors grow
from step to step. Here the sums are over the pairs of pixels themselves; the fast path leaves out what counts little:
pairs far apart, and what has not changed since the last step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, e, inf, log2

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn.functional import conv2d, pad

from apiece.errors import CallError

TILE = 16
"""Pixels along the side of a tile; pairs of pixels are taken a pair of tiles at a time."""
REACH = 3.5
"""Standard deviations between two tiles from which on the fast path takes them for unconnected."""
CHANGE = 3e-4
"""A change of a marginal that the fast path does not pass on until it has grown."""
PAIRS = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Pairs of pixels held at once, by the kind of device."""


@dataclass(frozen=True)
class CRF:
    """How labels depend on each other, and how far the masks that came in are believed.

    Each pixel i adds to the score of a label l, in every step, w_g * sum_j g_ij q_j(l) + w_b * sum_j b_ij q_j(l) over
    all pixels j, itself among them (Potts model), where
    g_ij = exp(-|p_i - p_j|^2 / 2 gaussian_sxy^2) and
    b_ij = exp(-|p_i - p_j|^2 / 2 bilateral_sxy^2 - |I_i - I_j|^2 / 2 bilateral_srgb^2), and both are normalized
    symmetrically as in pydensecrf: each is divided by sqrt(n_i n_j), with n_i its sum over all j, itself among them.

    The defaults were chosen on leaves that touch each other. Those usual for classes (3, 3, 10, 50 to 80, 5 to 13) give
    the pixels of an object to its larger neighbor of the same color.

    Args:
        steps: of mean field.
        gaussian_weight: w_g.
        gaussian_sxy: its standard deviation in pixels.
        bilateral_weight: w_b.
        bilateral_sxy: its standard deviation in pixels; the time grows with its square.
        bilateral_srgb: its standard deviation in intensities, which go from 0 to 255. |I_i - I_j|^2 is three times its
            mean over the channels: that of a color image's three, and gray counts like the color it looks like.
        softness: over how many pixels the border of a mask that came in is spread: a pixel at d pixels inside belongs
            to the object with the probability 1 / (1 + exp(-d / softness)); where that is below 0.001 it never does.
        certainty: the highest of these probabilities, and one less the lowest.
        exact: all pairs, in double precision. The time grows with the square of the number of pixels: for small images.

    Raises:
        CallError: a number that makes no sense.
    """

    steps: int = 5
    gaussian_weight: float = 1.0
    gaussian_sxy: float = 1.5
    bilateral_weight: float = 5.0
    bilateral_sxy: float = 5.0
    bilateral_srgb: float = 10.0
    softness: float = 2.0
    certainty: float = 0.95
    exact: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "gaussian_weight", "bilateral_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise CallError(f"CRF: {name} is {getattr(self, name)}: must be a number, at least 0.")
        for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb", "softness"):
            if not 0 < getattr(self, name) < float("inf"):
                raise CallError(f"CRF: {name} is {getattr(self, name)}: must be a number above 0.")
        if not 0.5 < self.certainty < 1:
            raise CallError(f"CRF: certainty is {self.certainty}: must be above 0.5 and below 1.")


def mean_field(energies: Float[Tensor, "L H W"], image: Float[Tensor, "C H W"], crf: CRF) -> Float[Tensor, "L H W"]:
    """The marginal probabilities of the labels of each pixel after some steps.

    Unless `crf.exact`, pairs of tiles more than 3.5 standard deviations apart are left out, and labels that changed by
    less than 0.0003 throughout a tile; the marginals stay within 0.02 of the exact ones (tests, `dev/log.md`).

    Args:
        energies: the lower, the likelier (minus the logarithm of a probability, but for a constant).
        image: intensities from 0 to 255.
    """
    kind = torch.float64 if crf.exact else torch.float32
    tiles = _Tiles(energies.shape[1], energies.shape[2])
    unary = -tiles.cut(energies.to(kind))
    marginals = unary.softmax(1)
    gaussian, bilateral = _Gaussian(crf, tiles, unary), _Bilateral(crf, tiles, image.to(kind))
    for _ in range(crf.steps):
        score = unary
        if crf.gaussian_weight:
            score = score + crf.gaussian_weight * gaussian.sums(marginals)
        if crf.bilateral_weight:
            score = score + crf.bilateral_weight * bilateral.sums(marginals)
        marginals = score.softmax(1)
    return tiles.joined(marginals).to(energies.dtype)


@dataclass(frozen=True)
class _Tiles:
    """An image of a height and width, padded and cut into T square tiles of P pixels."""

    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return ceil(self.height / TILE), ceil(self.width / TILE)

    def cut(self, planes: Float[Tensor, "L H W"]) -> Float[Tensor, "T L P"]:
        """Planes as tiles; zero outside the image."""
        (rows, columns), labels = self.shape, len(planes)
        planes = pad(planes, (0, columns * TILE - self.width, 0, rows * TILE - self.height))
        tiles = planes.reshape(labels, rows, TILE, columns, TILE).permute(1, 3, 0, 2, 4)
        return tiles.reshape(rows * columns, labels, TILE * TILE)

    def joined(self, tiles: Float[Tensor, "T L P"]) -> Float[Tensor, "L H W"]:
        """Tiles as planes."""
        (rows, columns), labels = self.shape, tiles.shape[1]
        planes = tiles.reshape(rows, columns, labels, TILE, TILE).permute(2, 0, 3, 1, 4)
        return planes.reshape(labels, rows * TILE, columns * TILE)[:, : self.height, : self.width]

    def pairs(self, reach: float) -> Integer[Tensor, "M 2"]:
        """The tiles at most `reach` pixels apart, each pair once; first each one with itself."""
        rows, columns = self.shape
        numbers = torch.arange(rows * columns).reshape(rows, columns)
        found = [torch.stack([numbers.flatten()] * 2, 1)]
        for down in range(rows):
            for right in range(-columns + 1, columns):
                gap = max(down - 1, 0) ** 2 + max(abs(right) - 1, 0) ** 2
                if (down, right) <= (0, 0) or gap * TILE**2 > reach**2:
                    continue
                ones = numbers[: rows - down, max(-right, 0) : columns - max(right, 0)]
                others = numbers[down:, max(right, 0) : columns - max(-right, 0)]
                found.append(torch.stack([ones.flatten(), others.flatten()], 1))
        return torch.cat(found)


class _Gaussian:
    """Normalized sums over near pixels."""

    def __init__(self, crf: CRF, tiles: _Tiles, like: Tensor):
        self.tiles, reach = tiles, ceil((8 if crf.exact else 4) * crf.gaussian_sxy)
        way = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
        self.kernel = (-(way**2) / (2 * crf.gaussian_sxy**2)).exp()
        self.scale = self._blurred(like.new_ones(1, tiles.height, tiles.width)).rsqrt()

    def _blurred(self, planes: Float[Tensor, "L H W"]) -> Float[Tensor, "L H W"]:
        planes, reach = planes[:, None], len(self.kernel) // 2
        planes = conv2d(planes, self.kernel[None, None, :, None], padding=(reach, 0))
        return conv2d(planes, self.kernel[None, None, None], padding=(0, reach))[:, 0]

    def sums(self, marginals: Float[Tensor, "T L P"]) -> Float[Tensor, "T L P"]:
        """For each pixel and label."""
        return self.tiles.cut(self._blurred(self.tiles.joined(marginals) * self.scale) * self.scale)


class _Bilateral:
    """Normalized sums over pixels that are near and alike; what was summed once is kept, and only changes added."""

    def __init__(self, crf: CRF, tiles: _Tiles, image: Float[Tensor, "C H W"]):
        # From the middle, so that squares stay small: less is lost in their differences.
        color = (image - image.mean((1, 2), keepdim=True)) * (3 / len(image)) ** 0.5 / crf.bilateral_srgb
        sides = [torch.arange(side, dtype=image.dtype, device=image.device) - side / 2 for side in image.shape[1:]]
        place = torch.stack(torch.meshgrid(*sides, indexing="ij")) / crf.bilateral_sxy
        # In powers of two, which are quicker than those of e.
        features = tiles.cut(torch.cat([color, place])) * log2(e) ** 0.5
        half = features.pow(2).sum(1, keepdim=True) / -2
        ones = torch.ones_like(half)
        # So that one product of matrices gives minus half the squared distances.
        self.left = torch.cat([features, half, ones], 1).transpose(1, 2).contiguous()
        self.right = torch.cat([features, ones, half], 1)
        self.pairs = tiles.pairs(inf if crf.exact else REACH * crf.bilateral_sxy).to(image.device)
        self.limit = 0.0 if crf.exact else CHANGE
        inside = tiles.cut(image.new_ones(1, tiles.height, tiles.width))
        self.scale = inside
        self._forget(inside)
        self.scale = self.sums(inside).rsqrt().where(inside > 0, inside)
        self._forget(inside[:0])

    def _forget(self, like: Float[Tensor, "T L P"]) -> None:
        self.seen, self.sum = torch.zeros_like(like), torch.zeros_like(like)

    def sums(self, marginals: Float[Tensor, "T L P"]) -> Float[Tensor, "T L P"]:
        """For each pixel and label."""
        if self.seen.shape != marginals.shape:
            self._forget(marginals)
        # T m: the labels that have changed in each tile, as many for all; of those beyond, the change is zero.
        changed = (marginals - self.seen).abs().amax(2) > self.limit
        most, labels = changed.int().topk(int(changed.sum(1).max()), 1)
        rows = labels[:, :, None].expand(-1, -1, marginals.shape[2])
        change = (marginals.gather(1, rows) - self.seen.gather(1, rows)) * most[:, :, None]
        self.seen.scatter_add_(1, rows, change)
        change = change * self.scale
        for one, other, apart in self._blocks(changed.any(1)):
            likeness = torch.bmm(self.left[one], self.right[other]).exp2_()
            self._add(other, labels[one], change[one] @ likeness)
            if apart:
                self._add(one, labels[other], change[other] @ likeness.transpose(1, 2))
        return self.sum * self.scale

    def _add(self, tiles: Integer[Tensor, " M"], labels: Integer[Tensor, "M m"], sums: Float[Tensor, "M m P"]) -> None:
        rows = labels + self.sum.shape[1] * tiles[:, None]
        self.sum.view(-1, self.sum.shape[2]).index_add_(0, rows.flatten(), sums.flatten(0, 1))

    def _blocks(self, active: Tensor) -> Iterator[tuple[Integer[Tensor, " M"], Integer[Tensor, " M"], bool]]:
        """Pairs of tiles of which one has changed, some at a time; and whether they are two."""
        kept = self.pairs[active[self.pairs].any(1)]
        alone = kept[:, 0] == kept[:, 1]
        step = max(1, PAIRS.get(kept.device.type, PAIRS["cuda"]) // TILE**4)
        for pairs, apart in ((kept[alone], False), (kept[~alone], True)):
            for block in pairs.split(step):
                yield block[:, 0], block[:, 1], apart
