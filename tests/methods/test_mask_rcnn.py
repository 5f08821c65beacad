import gc

import numpy as np
import pytest
import torch

from apiece.errors import CallError
from apiece.instances import Instances
from apiece.methods.mask_rcnn import MaskHead, MaskRCNN
from apiece.methods.method import Frame
from apiece.statistics import Statistics

SIZE = (64, 96)


def tiny(**options) -> MaskRCNN:
    torch.manual_seed(0)
    return MaskRCNN(**{"num_classes": 2, "channels": 1, "network": "tiny", **options})


def discs(count: int, size=SIZE, radius: float = 9.0, seed: int = 0) -> Instances:
    """Overlapping discs, some cut by the border."""
    generator = np.random.default_rng(seed)
    y, x = np.indices(size)
    centers = generator.uniform(0, 1, (count, 2)) * size
    stack = [np.hypot(y - a, x - b) < generator.uniform(0.5, 1.2) * radius for a, b in centers]
    return Instances.from_dense(np.array(stack), generator.integers(0, 2, count))


def pixels(size=SIZE, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(seed))


def total(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(losses.values())).sum()


def test_ideal_outputs_are_the_truth_as_far_as_28_cells_show_it():
    truth, method = discs(12), tiny(nms=1.0)  # two of them overlap
    frame = Frame(SIZE, SIZE)
    (found,) = method.decode(method.ideal([truth], [frame]), [frame])
    pairs = [max((a & b).sum() / (a | b).sum() for b in truth.dense()) for a in found.dense()]
    assert len(found) == 12 and min(pairs) > 0.97


def test_of_two_objects_of_a_class_in_one_box_ideal_outputs_have_the_first():
    stack = np.zeros((3, *SIZE), bool)
    stack[0, 10:40, 10], stack[0, 10, 10:40] = True, True  # an angle, in the box of the next
    stack[1, 10:40, 10:40], stack[2, 12:40, 10:40] = True, True
    truth, frame = Instances.from_dense(stack, [0, 1, 1]), Frame(SIZE, SIZE)
    for method, left in ((tiny(), [0, 1]), (tiny(nms=0.95), [0, 1, 1])):
        (found,) = method.decode(method.ideal([truth], [frame]), [frame])
        assert sorted(found.labels.tolist()) == left


def test_overlapping_objects_keep_their_common_pixels():
    stack = np.zeros((2, *SIZE), bool)
    stack[0, 10:40, 10:40], stack[1, 20:50, 20:60] = True, True
    frame = Frame(SIZE, SIZE)
    (found,) = tiny().decode(tiny().ideal([Instances.from_dense(stack)], [frame]), [frame])
    assert np.array_equal(np.sort(found.areas), np.sort(stack.sum((1, 2)))) and found.dense().all(0).sum() == 400


@pytest.mark.parametrize(
    "truth",
    [
        discs(1)[:0],
        discs(1, radius=0.9),  # one pixel or so
        discs(300, radius=2.0),
        Instances.from_label_map(np.ones(SIZE, np.uint8)),
        Instances.from_label_map(np.ones(SIZE, np.uint8), [-1], ignore=np.array([True])),
    ],
    ids=["none", "tiny", "many", "whole", "crowd"],
)
def test_whatever_the_truth_is_losses_are_finite_and_every_weight_has_a_gradient(truth):
    method = tiny()
    losses = method.loss(pixels(), [truth])
    total(losses).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in method.parameters())


def test_two_thousand_objects_are_learned_from_and_found_again():
    label_map = np.zeros((320, 400), np.int32)
    rows, columns = np.meshgrid(np.arange(40) * 8, np.arange(50) * 8, indexing="ij")
    for number, (row, column) in enumerate(zip(rows.ravel(), columns.ravel(), strict=True), start=1):
        label_map[row + 1 : row + 6, column + 1 : column + 6] = number
    truth = Instances.from_label_map(label_map, np.zeros(2000, int))
    method = tiny()
    method.adapt(Statistics.of([truth]))
    assert method.max_objects == 4000 and method.proposals == 8000
    assert total(method.loss(pixels((320, 400)), [truth])).isfinite()
    frame = Frame((320, 400), (320, 400))
    (found,) = method.decode(method.ideal([truth], [frame]), [frame])
    assert len(found) == 2000 and np.array_equal(found.label_map() > 0, label_map > 0)


def test_losses_and_objects_of_a_training_come_with_rounding_pooling_too():
    method = tiny(pooling="pool")
    total(method.loss(pixels(), [discs(3)])).backward()
    (found,) = method.predict(pixels())
    assert found.size == SIZE


def test_a_limit_that_is_reached_is_announced():
    method = tiny(max_objects=3)
    frame = Frame(SIZE, SIZE)
    with pytest.warns(UserWarning, match="3 sure objects, which is max_objects"):
        method.decode(method.ideal([discs(3)], [frame]), [frame])
    method.decode(method.ideal([discs(2)], [frame]), [frame])


def test_images_are_resized_where_it_is_asked_for():
    assert tiny().frame(SIZE) == Frame(SIZE, SIZE)
    assert tiny(min_side=128, max_side=150).frame(SIZE) == Frame(SIZE, (100, 150))


def test_anchor_sizes_are_one_for_each_level():
    assert len(tiny(anchor_sizes=(8.0, 16.0, 32.0)).rules.anchor_sizes) == 3
    with pytest.raises(CallError, match="2 anchor sizes for 3 levels"):
        tiny(anchor_sizes=(8.0, 16.0))


def test_oracles_put_the_truth_in_the_place_of_what_was_found_there():
    truth = discs(3, radius=14)
    frame, method = Frame(SIZE, SIZE), tiny()
    outputs = method.ideal([truth], [frame])
    worse = {name: rows.clone() for name, rows in outputs.items()}
    worse["boxes"] += 1.0
    worse["masks"].fill_(0.9)
    worse["labels"] = 1 - worse["labels"]
    for known, name in (("boxes", "boxes"), ("classes", "labels")):
        found = method.oracle(worse, [truth], known)
        assert torch.allclose(found[name].float(), outputs[name].float(), atol=1e-4)
        assert all(torch.equal(found[other], worse[other]) for other in worse if other != name)
    masked = method.oracle({**worse, "boxes": outputs["boxes"]}, [truth], "masks")
    assert torch.allclose(masked["masks"], outputs["masks"])
    with pytest.raises(CallError, match="no oracle"):
        method.oracle(outputs, [truth], "centers")


def test_pictures_of_the_inside_have_the_images_size():
    method, frame = tiny(), Frame(SIZE, (32, 48))
    outputs = method.infer(pixels((32, 48)), [frame])
    (shown,) = method.inside(outputs, [frame])
    assert set(shown) == {"boxes", "soft masks"}
    assert all(picture.shape == (32, 48, 3) for picture in shown.values())


@pytest.mark.parametrize("network", ["small", "resnet18"])
def test_larger_networks_have_sizes_of_their_own(network):
    method = MaskRCNN(1, 1, network)
    assert method.width == {"small": 64, "resnet18": 256}[network]
    rebuilt = MaskRCNN(**method.arguments)
    assert rebuilt.state_dict().keys() == method.state_dict().keys()


def test_a_linear_layer_tells_each_cell_of_a_mask_what_all_of_the_box_holds():
    torch.manual_seed(0)
    head = MaskHead(8, 2, 1, fusion=True)
    features, other = torch.randn(2, 3, 8, 14, 14)
    other[:, :, :7], other[:, :, 8:] = features[:, :, :7], features[:, :, 8:]  # one row differs
    plain = MaskHead(8, 2, 1)
    plain.load_state_dict({name: value for name, value in head.state_dict().items() if "fusion" not in name})
    near = (plain(features) - plain(other)).abs().amax((0, 1, 3))
    far = (head(features) - head(other)).abs().amax((0, 1, 3))
    assert not near[:11].any() and not near[19:].any() and far.all()
    assert MaskRCNN(1, network="small").fusion and not tiny().fusion
    assert (
        not MaskRCNN(1, network="resnet18").fusion and MaskRCNN(1, network="small", fusion=False).masks.fusion is None
    )


def test_steps_leave_nothing_behind():
    # The number of live tensors is that after a few steps: nothing keeps a step's graph.
    method, truth = tiny(), [discs(2)]
    counts = []
    for step in range(12):
        total(method.loss(pixels(seed=step), truth)).backward()
        method.zero_grad(set_to_none=True)
        if step in (3, 11):
            gc.collect()
            counts.append(sum(type(one) is torch.Tensor for one in gc.get_objects()))
    assert counts[1] <= counts[0]
