"""Heads over cells: what stands in each cell of a grid, and maps of which its mask is made.

    feature B C h w, resized to the grid -> convolutions -> category B K R C
    "vanilla"     feature and coordinates -> convolutions, twice as fine -> maps of which each cell has a weighted sum
    "decoupled"   the same twice, with x and with y -> a map a column, a map a row: a cell's mask is their product
    "v2"          feature and coordinates, resized to the grid -> kernel B E R C of each cell
                  all features, enlarged to the finest and added -> E maps that all cells of all grids share

Papers: Wang et al., SOLO, ECCV 2020, https://arxiv.org/abs/1912.04488; SOLOv2, NeurIPS 2020,
https://arxiv.org/abs/2003.10152.
"""

from collections.abc import Callable, Sequence
from math import gcd, log
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate, one_hot

from apiece.masks import Size
from apiece.networks.weights import he_normal
from apiece.parts.cells import Grid

Variant = Literal["vanilla", "decoupled", "v2"]
PRIOR = 0.01
"""What every output says of an object before training: focal loss needs it."""

UNIT = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
BUMP = (1.0, 0.0, 0.0, -1.0, -1.0, 0.0)
BUMP_X, BUMP_Y = (1.0, 0.0, 0.0, -1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""Polynomials of `Grid.relative`: a constant; what masks and their factors begin with, over a half within two cells."""

Images = Float[Tensor, "B C _ _"] | Sequence[Float[Tensor, "C _ _"]]


class CellMaps(NamedTuple):
    """What the heads say of a batch, each tensor whole or a tuple of its images.

    Attributes:
        category: logits B K R C of each grid.
        kernels: B E R C of each grid ("v2"), else none.
        maps: B E H W of each grid, at its masks' step; two of each where masks are products.
    """

    category: Sequence[Images]
    kernels: Sequence[Images]
    maps: Sequence[tuple[Images, ...]]

    def apart(self) -> "CellMaps":
        """The same as tuples of images. Each image taken out of a whole tensor costs a tensor of zeros going back."""
        whole = {id(one): one for some in (self.category, self.kernels, *self.maps) for one in some}
        split = {key: tuple(one) for key, one in whole.items()}
        category, kernels, *maps = (
            tuple(split[id(one)] for one in some) for some in (self.category, self.kernels, *self.maps)
        )
        return CellMaps(category, kernels, maps)


class CellHeads(nn.Module):
    """The heads of all grids; all share their weights but for the last layer where grids have different numbers.

    Args:
        variant: how masks are made.
        classes: kinds of object.
        inside: channels of the features.
        levels: how many features there are.
        width: channels of the convolutions.
        depth: convolutions before each output.
        mask_width: channels on the way to the shared maps ("v2").
        kernel_width: E, how many maps are shared ("v2").
        numbers: rows (and columns) of cells of each grid, or one period for all.
        coordinates: channels of coordinates, half of them x.
        fine_coordinates: channels of coordinates that join the finest feature on the way to the shared maps; 0 = those
            of the grids join the coarsest instead, as in the paper.
        near: add a polynomial of the place relative to the cell to each mask ("v2": predicted), so that masks begin as
            bumps about their cells, and divide predicted kernels by the root of their width, so that no high rate
            makes them empty. The papers' masks begin as even 0.01 ("v2": one half).
    """

    def __init__(
        self,
        variant: Variant,
        classes: int,
        inside: int,
        levels: int,
        *,
        width: int,
        depth: int,
        mask_width: int,
        kernel_width: int,
        numbers: Sequence[int],
        coordinates: int,
        fine_coordinates: int,
        near: bool,
    ):
        super().__init__()
        self.variant, self.numbers, self.near = variant, tuple(numbers), near
        self.category_tower = _tower(inside, width, depth)
        self.category = nn.Conv2d(width, classes, 3, padding=1)
        if variant == "v2":
            self.kernel_tower = _tower(inside + coordinates, width, depth)
            self.kernel = nn.Conv2d(width, kernel_width + (len(BUMP) if near else 0), 3, padding=1)
            extra = [fine_coordinates, *(0 for _ in range(levels - 1))] if fine_coordinates else [0] * levels
            extra[-1] += 0 if fine_coordinates else coordinates
            self.shared = _SharedMaps(inside, extra, mask_width, kernel_width)
        elif variant == "vanilla":
            self.mask_tower = _tower(inside + coordinates, width, depth)
            self.masks = nn.ModuleList(nn.Conv2d(width, number**2, 1) for number in numbers)
        else:
            self.tower_x, self.tower_y = (_tower(inside + coordinates // 2, width, depth) for _ in "xy")
            self.masks_x = nn.ModuleList(nn.Conv2d(width, number, 3, padding=1) for number in numbers)
            self.masks_y = nn.ModuleList(nn.Conv2d(width, number, 3, padding=1) for number in numbers)
        self._initialize()

    @torch.no_grad()
    def _initialize(self) -> None:
        he_normal(self)
        outputs = [name for name in ("category", "kernel", "masks", "masks_x", "masks_y") if hasattr(self, name)]
        for name in outputs:
            for layer in self.get_submodule(name).modules():
                if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                    nn.init.normal_(layer.weight, std=0.01)
                    rare = name == "category" or (name != "kernel" and not self.near)
                    nn.init.constant_(layer.bias, -log(1 / PRIOR - 1) if rare else 0)

    def forward(
        self,
        features: Sequence[Float[Tensor, "B C _ _"]],
        pyramid: Sequence[Float[Tensor, "B C _ _"]],
        grids: Sequence[Grid],
        coordinates: Callable[[int, Size], Float[Tensor, "D _ _"]],
        fine: Float[Tensor, "F _ _"] | None = None,
    ) -> CellMaps:
        """The outputs for one feature a grid.

        Args:
            features: of each grid.
            pyramid: all features, the finest first, for the shared maps.
            grids: over the padded images.
            coordinates: of a grid (by its number) at a size, x before y.
            fine: coordinates at the finest feature's size.
        """
        category, kernels, maps = [], [], []
        for number, (feature, grid) in enumerate(zip(features, grids, strict=True)):
            category.append(self.category(self.category_tower(resized(feature, grid.shape))))
            place = coordinates(number, _size(feature)).to(feature)
            if self.variant == "v2":
                joined = resized(_joined(feature, place), grid.shape)
                kernels.append(self.kernel(self.kernel_tower(joined)))
            elif self.variant == "vanilla":
                maps.append((_doubled(self.mask_tower(_joined(feature, place))),))
            else:
                x, y = place.chunk(2)
                layers = (self.tower_x, x, self.masks_x), (self.tower_y, y, self.masks_y)
                both = (self._last(last, number)(_doubled(tower(_joined(feature, one)))) for tower, one, last in layers)
                maps.append(tuple(both))
        if self.variant == "v2":
            place = coordinates(len(grids) - 1, _size(pyramid[-1])) if fine is None else fine
            maps = [(self.shared(pyramid, place.to(features[0])),)] * len(grids)
        return CellMaps(category, kernels, maps)

    def _last(self, layers: nn.ModuleList, number: int) -> nn.Module:
        return layers[min(number, len(layers) - 1)]

    def factors(
        self, said: CellMaps, image: int, number: int, rows: Int[Tensor, " P"], columns: Int[Tensor, " P"], shift: Size
    ) -> list[tuple[Float[Tensor, "E H W"], Float[Tensor, "P E"], Float[Tensor, "P D"] | None]]:
        """Maps and kernels whose weighted sums, through a sigmoid each, are multiplied to cells' masks.

        To each sum comes a polynomial of the place relative to the cell (`Grid.relative`), a constant, or nothing.
        Only the given cells' kernels are taken: of the vanilla head's many outputs no other is computed.

        Args:
            image, number: of the batch, and of the grid.
            rows, columns: of the cells.
            shift: what is added to them before the channel of a periodic grid is found.
        """
        maps = [one[image].float() for one in said.maps[number]]
        if self.variant == "v2":
            kernels = said.kernels[number][image].float()[:, rows, columns].T
            if not self.near:
                return [(maps[0], kernels, None)]
            width = len(maps[0])
            return [(maps[0], kernels[:, :width] / width**0.5, kernels[:, width:] + kernels.new_tensor(BUMP))]
        period = self.numbers[min(number, len(self.numbers) - 1)]
        row, column = (rows + shift[0]) % period, (columns + shift[1]) % period
        if self.variant == "vanilla":
            layer = self._last(self.masks, number)
            weight, bias = layer.get_parameter("weight").float(), layer.get_parameter("bias").float()
            channel = row * period + column
            constant = bias[channel, None]
            near = constant * bias.new_tensor(UNIT) + bias.new_tensor(BUMP) if self.near else constant
            return [(maps[0], weight[channel, :, 0, 0], near)]
        bumps = [maps[0].new_tensor(one).expand(len(rows), -1) if self.near else None for one in (BUMP_X, BUMP_Y)]
        ones = [one_hot(place, period).float() for place in (column, row)]
        return list(zip(maps, ones, bumps, strict=True))


class _SharedMaps(nn.Module):
    """Features enlarged step by step to the finest one's size, added, and mixed."""

    def __init__(self, inside: int, extra: Sequence[int], width: int, outside: int):
        super().__init__()
        self.levels = nn.ModuleList(
            nn.ModuleList(_layer(inside + more if step == 0 else width, width) for step in range(max(level, 1)))
            for level, more in enumerate(extra)
        )
        self.extra = extra
        self.mixed = _layer(width, outside, 1)

    def forward(self, pyramid: Sequence[Float[Tensor, "B C _ _"]], place: Tensor) -> Float[Tensor, "B E H W"]:
        total: Tensor | None = None
        for level, (feature, layers) in enumerate(zip(pyramid, self.levels, strict=True)):
            enlarged = _joined(feature, place) if self.extra[level] else feature
            for layer in layers:  # pyright: ignore[reportGeneralTypeIssues]
                enlarged = _doubled(layer(enlarged)) if level else layer(enlarged)
            total = enlarged if total is None else total + enlarged
        return self.mixed(total)


def _tower(inside: int, width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(_layer(width if step else inside, width) for step in range(depth)))


def _layer(inside: int, outside: int, kernel: int = 3) -> nn.Sequential:
    """A convolution; groups of channels normalized, 32 as in the papers, or of 8 channels where there are few."""
    convolution = nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False)
    groups = 32 if outside >= 128 and not outside % 32 else max(1, outside // 8)
    return nn.Sequential(convolution, nn.GroupNorm(gcd(groups, outside), outside), nn.ReLU(inplace=True))


def _joined(feature: Float[Tensor, "B C h w"], place: Float[Tensor, "D h w"]) -> Float[Tensor, "B E h w"]:
    # Laid out as the convolutions' outputs mostly are: joined to another layout, all would be copied twice.
    spread = place.expand(len(feature), -1, -1, -1).contiguous(memory_format=torch.channels_last)
    return torch.cat([feature, spread], 1)


def resized(feature: Float[Tensor, "B C _ _"], size: Size) -> Float[Tensor, "B C _ _"]:
    """A feature at another size, interpolated linearly."""
    return feature if feature.shape[2:] == size else interpolate(feature, size=size, mode="bilinear")


def _doubled(feature: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C H W"]:
    return interpolate(feature, scale_factor=2, mode="bilinear")


def _size(feature: Float[Tensor, "B C h w"]) -> Size:
    return feature.shape[2], feature.shape[3]
