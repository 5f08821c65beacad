"""The golden numbers are of the authors' program; `golden/solo.json` says how they were made, from these inputs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from apiece.checkpoint import adopt
from apiece.errors import CallError
from apiece.foreign import solo as layout
from apiece.instances import Instances
from apiece.methods.method import Frame
from apiece.methods.solo import SOLO
from apiece.parts.cell_heads import CellHeads, CellMaps
from apiece.parts.cell_outputs import Said
from apiece.statistics import Statistics

GOLDEN = Path(__file__).parents[1] / "golden" / "solo.json"
VARIANTS = ("vanilla", "decoupled", "v2")
SIZE, GRIDS, CLASSES = (64, 96), (8, 7, 5, 4, 3), 3
RANGES = ((1.0, 14.0), (8.0, 24.0), (16.0, 40.0), (24.0, 60.0), (40.0, 2048.0))
STRIDES = (8, 8, 16, 32, 32)
FEATURE_SIZES = ((16, 24), (8, 12), (4, 6), (2, 3), (1, 2))


def golden() -> dict:
    return json.loads(GOLDEN.read_text())


def truth(count: int, seed: int) -> Instances:
    """Ellipses, overlapping."""
    generator, (row, column), masks = np.random.default_rng(seed), np.indices(SIZE), []
    for _ in range(count):
        (y, x), (a, b) = generator.uniform(0, SIZE), generator.uniform(3, 26, 2)
        masks.append(((row - y) / a) ** 2 + ((column - x) / b) ** 2 < 1)
    return Instances.from_dense(np.array(masks), generator.integers(0, CLASSES, count))


def smooth(shape: tuple[int, ...], size: tuple[int, int], generator: np.random.Generator, scale: float) -> torch.Tensor:
    """Waves over a map: neighboring masks overlap, and have borders."""
    frequency, phase = generator.uniform(-2, 2, (*shape, 2)), generator.uniform(0, 6.28, shape)
    row, column = (np.arange(side) / side * 6.28 for side in size)
    waves = frequency[..., :1, None] * row[:, None] + frequency[..., 1:, None] * column + phase[..., None, None]
    return torch.from_numpy(scale * np.sin(waves)).float()


def raw_outputs(variant: str) -> dict[str, list[torch.Tensor]]:
    """Logits and maps of two images: what the authors' heads give before sigmoids."""
    generator = np.random.default_rng(5)
    outputs = {"category": [smooth((2, CLASSES), (count, count), generator, 2.5) for count in GRIDS]}
    sizes = [(2 * SIZE[0] // stride, 2 * SIZE[1] // stride) for stride in STRIDES]
    if variant == "v2":
        outputs["kernels"] = [smooth((2, 8), (count, count), generator, 3.0) for count in GRIDS]
        outputs["maps"] = [smooth((2, 8), (SIZE[0] // 4, SIZE[1] // 4), generator, 2.0)]
    elif variant == "vanilla":
        outputs["masks"] = [smooth((2, n * n), size, generator, 5.0) for n, size in zip(GRIDS, sizes, strict=True)]
    else:
        for axis in "xy":
            maps = [smooth((2, n), size, generator, 6.0) + 2 for n, size in zip(GRIDS, sizes, strict=True)]
            outputs[f"masks_{axis}"] = maps
    return outputs


def made(**options) -> SOLO:
    torch.manual_seed(0)
    return SOLO(**{"num_classes": CLASSES, "channels": 1, "network": "tiny", **options})


def paper(variant: str, **options) -> SOLO:
    return made(variant=variant, grids=GRIDS, ranges=RANGES, legacy=True, max_objects=30, **options)


def said_of(model: SOLO, raw: dict[str, list[torch.Tensor]]) -> Said:
    """Raw outputs as the heads' own; the vanilla head's last layer hands its maps through."""
    maps: list = [tuple(raw[name][level] for name in raw if name.startswith("masks")) for level in range(len(GRIDS))]
    if model.variant == "v2":
        maps = [(raw["maps"][0],)] * len(GRIDS)
    if model.variant == "vanilla":
        model.heads.masks = torch.nn.ModuleList(torch.nn.Conv2d(n * n, n * n, 1) for n in GRIDS)
        for layer in model.heads.masks:
            torch.nn.init.dirac_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    return Said(model.heads, CellMaps(raw["category"], raw.get("kernels", []), maps), model._grids(SIZE))


def drawn(tensor: torch.Tensor, seed: int = 3) -> float:
    """A tensor's product with random numbers: one number that knows all."""
    noise = np.random.default_rng(seed).standard_normal(tuple(tensor.shape))
    return float((tensor.detach().double() * torch.from_numpy(noise)).sum())


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_gradients_are_those_of_the_authors_program(variant):
    raw = {name: [one.requires_grad_() for one in tensors] for name, tensors in raw_outputs(variant).items()}
    model = paper(variant)
    losses = model.loss_of(said_of(model, raw), [truth(7, 1), truth(4, 2)])
    expected = golden()[variant]
    assert losses["mask"].item() == pytest.approx(expected["loss_ins"], rel=1e-5)
    assert losses["category"].item() == pytest.approx(expected["loss_cate"], rel=1e-5)
    sum(losses.values()).backward()
    for name, tensors in raw.items():
        gradient = torch.cat([(one * 0 if one.grad is None else one.grad).flatten() for one in tensors])
        assert drawn(gradient) == pytest.approx(expected["gradients"][name], rel=1e-4)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_objects_are_those_of_the_authors_program(variant, kernel):
    model = paper(variant, kernel=kernel)
    said = said_of(model, raw_outputs(variant))
    model.heard = lambda images: said
    frames = [Frame(SIZE, SIZE)] * 2
    with torch.no_grad():
        outputs = model.forward(torch.zeros(2, 1, *SIZE), torch.tensor([SIZE, SIZE]))
    for found, expected in zip(model.decode(outputs, frames), golden()[variant][kernel], strict=True):
        count = len(found)
        assert count == len(expected["scores"]) > 20
        np.testing.assert_allclose(found.scores, expected["scores"], rtol=1e-5)
        assert found.labels.tolist() == expected["labels"]
        # Theirs is interpolated twice, so that single pixels at a border may differ.
        assert np.abs(found.mask_areas - expected["areas"]).max() <= 1


def published(variant: str) -> dict[str, torch.Tensor]:
    """A state of the authors' heads, of 32 features and 128 channels, under their names."""
    generator = np.random.default_rng(9)

    def layers(name: str, inside: int, outside: int, count: int, kernel: int = 3) -> dict:
        state = {}
        for index in range(count):
            shape = (outside, inside if index == 0 else outside, kernel, kernel)
            state[f"{name.format(index)}.conv.weight"] = generator.standard_normal(shape) * 0.05
            state[f"{name.format(index)}.gn.weight"] = 1 + 0.3 * generator.standard_normal(outside)
            state[f"{name.format(index)}.gn.bias"] = 0.3 * generator.standard_normal(outside)
        return state

    def last(name: str, outside: int, kernel: int = 3) -> dict:
        weight = 0.05 * generator.standard_normal((outside, 128, kernel, kernel))
        return {f"{name}.weight": weight, f"{name}.bias": generator.standard_normal(outside)}

    box = "bbox_head."
    category = "dsolo_cate" if variant == "decoupled" else "solo_cate"
    state = {**layers(box + "cate_convs.{}", 32, 128, 2), **last(box + category, 3)}
    if variant == "v2":
        state |= {**layers(box + "kernel_convs.{}", 34, 128, 2), **last(box + "solo_kernel", 128)}
        for level, inside in enumerate((32, 32, 32, 34)):
            state |= layers(f"mask_feat_head.convs_all_levels.{level}.conv{{}}", inside, 128, max(level, 1))
        state |= layers("mask_feat_head.conv_pred.{}", 128, 128, 1, kernel=1)
    elif variant == "vanilla":
        state |= layers(box + "ins_convs.{}", 34, 128, 2)
        for level, count in enumerate(GRIDS):
            state |= last(f"{box}solo_ins_list.{level}", count**2, 1)
    else:
        for axis in "xy":
            state |= layers(f"{box}ins_convs_{axis}.{{}}", 33, 128, 2)
            for level, count in enumerate(GRIDS):
                state |= last(f"{box}dsolo_ins_list_{axis}.{level}", count)
    return {name: torch.from_numpy(array).float() for name, array in state.items()}


def features() -> list[torch.Tensor]:
    generator = np.random.default_rng(4)
    return [torch.from_numpy(generator.standard_normal((1, 32, *size))).float() for size in FEATURE_SIZES]


class Given(torch.nn.Module):
    """A pyramid that gives what it was given."""

    strides, stride = (4, 8, 16, 32, 64), 32

    def forward(self, images):
        return features()


@pytest.mark.parametrize("variant", VARIANTS)
def test_heads_give_what_the_authors_heads_give_with_their_weights(variant):
    model = paper(variant, width=32, head_width=128, mask_width=128, kernel_width=128)
    state = {name.removeprefix("heads."): tensor for name, tensor in layout.translate(published(variant)).items()}
    model.heads.load_state_dict(state)
    model.pyramid = Given()
    with torch.no_grad():
        said = model.heard(torch.zeros(1, 1, *SIZE))
    found = {"category": said.maps.category, "kernels": said.maps.kernels}
    for number, name in enumerate({"decoupled": ("masks_x", "masks_y")}.get(variant, ("masks",))):
        maps = [one[number] for one in said.maps.maps][: 1 if variant == "v2" else None]
        layers = model.heads.masks if variant == "vanilla" else [torch.nn.Identity()] * len(maps)
        found[name] = [layer(one) for layer, one in zip(layers, maps, strict=True)]
    for name, expected in golden()[variant]["forward"].items():
        assert [drawn(one) for one in found[name]] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_vanilla_head_computes_only_the_cells_that_are_asked_for():
    heads: CellHeads = made(variant="vanilla").heads
    torch.nn.init.normal_(heads.masks[0].bias)
    features, grid = torch.randn(1, 64, 12, 18), made(variant="vanilla")._grids((32, 48))[0]
    said = Said(heads, CellMaps([], [], [(features,)]), [grid], (3, 5))
    rows, columns = torch.tensor([0, 3, 7]), torch.tensor([11, 2, 9])
    ((maps, kernels, near),) = heads.factors(said.maps, 0, 0, rows, columns, said.shift)
    channels = ((rows + 3) % 12) * 12 + (columns + 5) % 12
    whole = heads.masks[0](features)[0][channels]
    constant = near[:, 0] - 1  # of the bump
    torch.testing.assert_close(torch.einsum("pe,ehw->phw", kernels, maps) + constant[:, None, None], whole)


@pytest.mark.parametrize("variant", VARIANTS)
def test_masks_begin_as_bumps_about_their_cells(variant):
    model = made(variant=variant, period=6)
    with torch.no_grad():
        said = model.heard(torch.rand(1, 1, 64, 96))
        for number, grid in enumerate(said.grids):
            row, column = torch.tensor([2]), torch.tensor([3])
            if row * grid.cell[0] + 3 * grid.cell[0] > 64:
                continue
            whole = torch.zeros(64 // grid.step, 96 // grid.step)
            (y, x), (mask,) = grid.corners(row, column)[0].tolist(), said.probabilities(0, number, row, column)
            whole[max(y, 0) : y + len(mask), max(x, 0) : x + len(mask)] = mask[max(-y, 0) :, max(-x, 0) :][
                : len(whole) - max(y, 0), : whole.shape[1] - max(x, 0)
            ]
            places = (np.argwhere(whole.numpy() > 0.5) + 0.5) * grid.step / grid.cell
            assert np.abs(places.mean(0) - [2.5, 3.5]).max() < 0.5
            assert 1 < np.abs(places - [2.5, 3.5]).max() < 3


@pytest.mark.parametrize("variant", VARIANTS)
def test_of_ignored_objects_nothing_is_learned(variant):
    model = made(variant=variant)
    label_map = np.zeros((32, 48), np.uint16)
    label_map[2:12, 2:14], label_map[16:32, 20:44] = 1, 2
    target = Instances.from_label_map(label_map, np.array([0, 1]), ignore=np.array([False, True]))
    images = torch.rand(1, 1, 32, 48)
    said = model.heard(images)
    maps = [one.detach().requires_grad_() for one in said.maps.category]
    model.loss_of(said._replace(maps=said.maps._replace(category=maps)), [target])["category"].backward()
    for heat, grid in zip(maps, said.grids, strict=True):
        side = int(grid.cell[0])
        touched = torch.zeros(grid.shape, dtype=torch.bool)
        touched[16 // side :, 20 // side : -(-44 // side)] = True
        assert not heat.grad[0, 1, touched].any() and heat.grad[0, 0].all() and heat.grad[0, 1, ~touched].all()


def test_an_object_beside_an_ignored_one_is_not_kept_off_its_pixels():
    model = made(cells=(8,))
    label_map = np.zeros((32, 48), np.uint16)
    label_map[8:24, 4:20], label_map[8:24, 20:40] = 1, 2
    target = Instances.from_label_map(label_map, np.array([0, 0]), ignore=np.array([False, True]))
    said = model.heard(torch.rand(1, 1, 32, 48))
    maps = said.maps.maps[0][0].detach().requires_grad_()
    model.loss_of(said._replace(maps=said.maps._replace(maps=[(maps,)])), [target])["mask"].backward()
    touched = maps.grad[0].abs().sum(0) > 0
    assert touched[4:12, 2:10].all() and not touched[4:12, 10:20].any()


def test_cells_sizes_and_limits_follow_the_data():
    model = made()
    sides = np.array([[10, 9], [40, 60], [20, 30], [9, 12]])
    model.adapt(Statistics(np.array([60, 2000, 400, 80]), sides, np.array([3, 180])))
    assert (model.cells, model.min_size, model.max_objects) == ((4, 8, 16), 30, 360)
    assert model.stride == 16 and len(model._grids((32, 48))) == 3
    model = made(cells=(16,), min_size=5, max_objects=7)
    model.adapt(Statistics(np.array([60, 2000]), np.array([[10, 9], [40, 60]]), np.array([3])))
    assert (model.cells, model.min_size, model.max_objects) == ((16,), 5, 7)


def test_neighboring_cells_may_find_two_objects_but_with_the_papers_grids():
    assert not made().peaks and made(grids=(8, 6, 4, 3, 2)).peaks and made(peaks=True).peaks


def test_every_size_of_object_has_a_grid():
    model = made()
    for side in (1, 2, 5, 9, 17, 40, 62):
        mask = np.zeros((1, 64, 64), bool)
        mask[0, :side, :side] = True
        frames = [Frame((64, 64), (64, 64))]
        (found,) = model.decode(model.ideal([Instances.from_dense(mask)], frames), frames)
        assert len(found) == 1
        assert (found.dense()[0] & mask[0]).sum() / (found.dense()[0] | mask[0]).sum() > (0.95 if side > 2 else 0.24)


def test_hundreds_of_small_objects_come_back_from_the_ideal_outputs():
    label_map = np.zeros((480, 480), np.uint16)
    for number in range(1600):
        row, column = divmod(number, 40)
        label_map[12 * row + 1 : 12 * row + 9, 12 * column + 2 : 12 * column + 11] = number + 1
    target, model = Instances.from_label_map(label_map), made(num_classes=1)
    frames = [Frame((480, 480), (480, 480))]
    (found,) = model.decode(model.ideal([target], frames), frames)
    assert len(found) == 1600 and (found.label_map() > 0).sum() == pytest.approx((label_map > 0).sum(), rel=0.02)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_loss_with_very_many_and_very_small_objects_is_finite(variant):
    label_map = np.zeros((128, 128), np.uint16)
    label_map[::4, ::4] = np.arange(1, 1025).reshape(32, 32)
    model = made(num_classes=1, variant=variant)
    losses = model.loss(torch.rand(1, 1, 128, 128), [Instances.from_label_map(label_map)])
    sum(losses.values()).backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_periods_begin_elsewhere_at_each_step_and_at_the_same_place_at_the_same_step(variant):
    model, images, target = made(variant=variant), torch.rand(1, 1, 32, 48), [truth(3, 0).resized((32, 48))]
    shifts = set()
    for progress in (0.0, 0.1, 0.2, 0.3):
        model.at(progress)
        shifts.add(model.shift)
        first = model.loss(images, target)
        model.at(progress)
        assert all(torch.equal(first[name], loss) for name, loss in model.loss(images, target).items())
    assert len(shifts) > 2


def test_more_objects_than_it_gives_are_announced_once(capsys):
    model, frames = made(num_classes=1, max_objects=2), [Frame((64, 64), (64, 64))]
    label_map = np.zeros((64, 64), np.uint16)
    label_map[4:16, 4:16], label_map[30:40, 30:40], label_map[50:60, 10:20] = 1, 2, 3
    for _ in range(2):
        model.decode(model.ideal([Instances.from_label_map(label_map)], frames), frames)
    assert capsys.readouterr().err.count("max_objects") == 1


def test_pictures_show_cells_and_masks():
    model, frames = made(), [Frame((20, 31), (20, 31))]
    mask = np.zeros((1, 20, 31), bool)
    mask[0, 4:16, 8:22] = True
    (pictures,) = model.inside(model.ideal([Instances.from_dense(mask)], frames), frames)
    assert {name: picture.shape for name, picture in pictures.items()} == {
        **{f"cells {number}": (20, 31, 3) for number in (1, 2, 3)},
        "masks": (20, 31, 3),
    }
    shown = pictures["masks"].any(2)
    assert shown[6:14, 10:20].all() and not shown[:2].any() and not shown[:, 26:].any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"grids": (4, 3)}, "5 grids"),
        ({"grids": GRIDS, "cells": (4,)}, "no cells"),
        ({"cells": (4, 12)}, "twice"),
        ({"cells": (4, 8), "ranges": ((0.0, 9.0),)}, "one for each"),
    ],
)
def test_what_does_not_go_together_is_refused(options, words):
    with pytest.raises(CallError, match=words):
        made(**options)


def test_published_states_say_what_they_are():
    state = {f"backbone.layer3.{number}.conv1.weight": torch.zeros(1) for number in range(6)}
    state |= {"backbone.conv1.weight": torch.zeros(1), "backbone.layer1.0.conv3.weight": torch.zeros(1)}
    state |= {"neck.lateral_convs.0.conv.weight": torch.zeros(32, 64, 1, 1), **published("decoupled")}
    assert layout.recognize(state) and not layout.recognize({**state, "more.weight": torch.zeros(1)})
    kind, arguments = layout.describe(state)
    expected = {"num_classes": 3, "network": "resnet50", "variant": "decoupled", "grids": GRIDS, "depth": 2}
    assert kind == "SOLO" and arguments | expected == arguments
    assert (arguments["width"], arguments["head_width"]) == (32, 128)


@pytest.mark.parametrize("first, second", [("thin", "round"), ("round", "thin")])
def test_cells_and_their_reach_go_together_to_another_training(first, second):
    sides = {"thin": np.full((9, 2), (70, 4)), "round": np.array([[9, 9], [70, 70]] * 9)}
    data = {name: Statistics(of.prod(1), of, np.array([9])) for name, of in sides.items()}
    source, model = made(), made()
    source.adapt(data[first])
    model.adapt(data[second])
    adopt(model, source)
    assert (model.cells, model.reach) == (source.cells, source.reach)
    given = made(cells=(4, 8))
    given.adapt(data[second])
    assert len(given._grids((48, 48))) == 2


def test_ranges_for_another_number_of_grids_than_the_data_has_are_refused():
    model = made(ranges=((0.0, 9.0), (9.0, 99.0), (50.0, 999.0)))
    with pytest.raises(CallError, match="3 ranges for 1 grids"):
        model.adapt(Statistics(np.full(9, 4900), np.full((9, 2), 70), np.array([9])))
