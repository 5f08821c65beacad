import numpy as np
import pytest
import torch

from apiece.errors import CallError
from apiece.instances import Instances
from apiece.methods.dcme import DCME, displacement_target
from apiece.methods.method import Frame
from apiece.parts.owners import Owners
from apiece.statistics import Statistics

SIZE = (32, 48)


def made(**options) -> DCME:
    torch.manual_seed(0)
    return DCME(**{"num_classes": 2, "channels": 1, "network": "tiny", **options})


def truth(ignore=None) -> Instances:
    label_map = np.zeros(SIZE, np.uint16)
    label_map[2:14, 3:15], label_map[4:20, 24:36], label_map[20:30, 4:20] = 1, 2, 3
    return Instances.from_label_map(label_map, labels=np.array([0, 1, 0]), ignore=ignore)


def owners(target: Instances) -> Owners:
    return Owners.of(target, torch.device("cpu"))


def test_targets_point_at_the_mean_of_each_objects_pixels():
    target, expected = truth(), np.zeros((2, *SIZE))
    for mask in target.dense():
        rows, columns = np.nonzero(mask)
        for row, column in zip(rows, columns, strict=True):
            expected[:, row, column] = columns.mean() - column, rows.mean() - row
    found = displacement_target(owners(target)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_targets_differ_from_the_first_programs_by_its_rounding_down_only():
    """It takes the whole part of the mean: int(mean(rows)), int(mean(columns))."""
    target, found = truth(), displacement_target(owners(truth())).numpy()
    for mask in target.dense():
        rows, columns = np.nonzero(mask)
        theirs = np.stack([int(columns.mean()) - columns, int(rows.mean()) - rows])
        difference = found[:, rows, columns] - theirs
        assert (difference >= -1e-5).all() and (difference < 1).all()


def reference(displacement, target, amplitude):
    """Equations 3 and 4 by their antiderivative, in double precision, over all outputs."""
    error = displacement.double() - target.double()
    return (amplitude * torch.log(torch.cosh(error / 2))).mean()


def test_the_loss_and_its_gradient_are_equations_3_and_4():
    model = made(amplitude=6.0)
    targets = [owners(truth()), owners(truth()[:1])]
    wanted = torch.stack([displacement_target(one) for one in targets])
    displacement = (wanted + 3 * torch.randn(2, 2, *SIZE)).requires_grad_()
    loss = model.displacement_loss(displacement, targets)
    loss.backward()
    assert loss.item() == pytest.approx(reference(displacement.detach(), wanted, 6.0).item(), rel=1e-5)
    error = (displacement.detach() - wanted).double()
    expected = 6.0 * (1 / (1 + torch.exp(-error)) - 0.5) / (2 * 2 * SIZE[0] * SIZE[1])
    torch.testing.assert_close(displacement.grad.double(), expected, rtol=1e-5, atol=1e-9)


def test_the_logistic_gradient_is_bounded_and_the_squared_one_is_not():
    targets = [owners(truth())]
    far = torch.full((1, 2, *SIZE), 500.0, requires_grad=True)
    outputs = 2 * SIZE[0] * SIZE[1]
    (gradient,) = torch.autograd.grad(made().displacement_loss(far, targets), far)
    assert gradient.abs().max().item() * outputs == pytest.approx(2.0, rel=1e-5)
    (gradient,) = torch.autograd.grad(made(error="squared").displacement_loss(far, targets), far)
    assert gradient.abs().max().item() * outputs > 490


def test_ignored_pixels_are_in_no_term():
    model, target = made(), truth(ignore=np.array([False, False, True]))
    displacement = torch.zeros(1, 2, *SIZE, requires_grad=True)
    before = model.displacement_loss(displacement, [owners(target)])
    changed = torch.zeros(1, 2, *SIZE)
    changed[:, :, 20:30, 4:20] = 99
    assert model.displacement_loss(changed, [owners(target)]).item() == pytest.approx(before.item())


@pytest.mark.parametrize("classes_from", ["blocks", "crops"])
def test_ideal_outputs_give_masks_and_classes_back(classes_from):
    model, target = made(classes_from=classes_from), truth()
    frames = [Frame(SIZE, SIZE)]
    (found,) = model.decode(model.ideal([target], frames), frames)
    order = np.argsort(found.boxes[:, 0])
    assert found.labels[order].tolist() == [0, 0, 1]
    assert found.scores.min() > 0.99
    assert all(any(np.array_equal(a, b) for b in target.dense()) for a in found.dense())


def test_objects_of_unlike_class_in_one_block_share_the_larger_ones_class():
    label_map = np.zeros((32, 32), np.uint16)
    label_map[2:10, 2:8], label_map[2:6, 10:14] = 1, 2
    target, frames = Instances.from_label_map(label_map, labels=np.array([1, 0])), [Frame((32, 32), (32, 32))]
    for block, labels in ((16, [1, 1]), (8, [1, 0])):
        model = made(block=block)
        (found,) = model.decode(model.ideal([target], frames), frames)
        assert found.labels.tolist() == labels


def test_crops_are_classified_in_the_order_of_the_decoded_objects():
    model, frames = made(classes_from="crops").eval(), [Frame(SIZE, SIZE)]
    outputs = model.ideal([truth()], frames)
    with torch.no_grad():
        real = model.infer(torch.rand(1, 1, *SIZE), frames)
    assert real["crops"].ndim == 3 and real["crops"].shape[2] == 3
    outputs["crops"] = outputs["crops"].flip(2).roll(1, 2)
    (turned,) = model.decode(outputs, frames)
    (straight,) = model.decode(model.ideal([truth()], frames), frames)
    assert (turned.labels == 1 - straight.labels).all()


def test_crops_are_learned_by_their_own_term():
    model = made(classes_from="crops")
    losses = model.loss(torch.rand(2, 1, *SIZE), [truth(), Instances.empty(SIZE)])
    losses["class"].backward()
    assert model.crops[-1].weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in model.network.parameters())


def test_the_true_centers_and_classes_can_be_given():
    model, frames, target = made(), [Frame(SIZE, SIZE)], truth()
    outputs = model.ideal([target], frames)
    outputs["displacement"] = outputs["displacement"] * 0.7
    wrong = {**outputs, "blocks": outputs["blocks"].roll(1, 1)}
    (found,) = model.decode(model.oracle(model.oracle(wrong, [target], "centers"), [target], "classes"), frames)
    assert len(found) == 3 and sorted(found.labels.tolist()) == [0, 0, 1]
    with pytest.raises(CallError, match="no oracle"):
        model.oracle(outputs, [target], "masks")


def test_pictures_of_the_field_and_the_blocks_have_the_images_size():
    model, frames = made(), [Frame((30, 40), (30, 40))]
    (pictures,) = model.inside(model.ideal([Instances.empty((30, 40))], frames), frames)
    assert set(pictures) == {"offsets", "displaced", "blocks"}
    assert all(picture.shape == (30, 40, 3) for picture in pictures.values())


def test_several_classes_need_something_that_tells_them_apart():
    with pytest.raises(CallError, match="classes_from"):
        made(classes_from="nothing")
    with pytest.raises(CallError, match="power of two"):
        made(block=12)


def test_votes_of_thin_objects_are_gathered_as_finely_as_these_are_narrow():
    discs, leaves, sticks = (Statistics(np.full(9, 320), np.full((9, 2), n), np.array([9])) for n in (20, 30, 60))
    for statistics, window in ((discs, 11), (leaves, 11), (sticks, 3)):
        method = made()
        method.adapt(statistics)
        # The slack is that of a disc of the same area.
        assert (method.window, method.slack) == (window, 3.14)
    given = made(window=5, slack=1.5)
    given.adapt(sticks)
    assert (given.window, given.slack) == (5, 1.5)


def test_thin_objects_whose_centers_are_near_are_found():
    """The centers of two sticks are seven pixels apart: votes that scatter by a pixel still make two peaks."""
    size = (64, 64)
    layers = np.zeros((2, *size), np.uint16)
    layers[0, 30:34, 4:60], layers[1, 4:52, 36:40] = 1, 2
    target = Instances.from_layers(layers)
    method = DCME(1, 1, network="tiny", classes_from="nothing")
    method.adapt(Statistics.of([target]))
    frame = Frame(size, size)
    outputs = method.ideal([target], [frame])
    scatter = torch.randn(outputs["displacement"].shape, generator=torch.Generator().manual_seed(0))
    outputs["displacement"] += scatter * (outputs["displacement"] != 0)
    (found,) = method.decode(outputs, [frame])
    masks, true = found.dense(), target.dense()
    overlaps = [[(a & b).sum() / (a | b).sum() for a in masks] for b in true]
    assert len(masks) == 2 and np.max(overlaps, 1).min() > 0.7
