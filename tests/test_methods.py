"""What holds for every method: each is built tiny and tried on small generated images."""

import json
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from apiece import methods
from apiece.instances import Instances
from apiece.methods.method import Frame, Method
from apiece.parts.normalization import Normalization
from apiece.statistics import Statistics

SIZE = (32, 48)


def made(name: str, **options) -> Method:
    torch.manual_seed(0)
    return methods.find(name)(**{"num_classes": 2, "channels": 1, "network": "tiny", **options})


@pytest.fixture(params=list(methods.PLACES))
def method(request) -> Method:
    return made(request.param)


def boxes_truth(size=SIZE, label_offset=0) -> Instances:
    """Three rectangles apart, of both classes."""
    label_map = np.zeros(size, np.uint16)
    label_map[2:14, 3:15], label_map[4:20, 24:36], label_map[20:30, 4:20] = 1, 2, 3
    return Instances.from_label_map(label_map, labels=np.array([0, 1, 0]))


@pytest.fixture
def batch() -> tuple[torch.Tensor, list[Instances]]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 1, *SIZE, generator=generator), [boxes_truth(), boxes_truth()[:1]]


def frames_of(targets: list[Instances]) -> list[Frame]:
    return [Frame(target.size, target.size) for target in targets]


def test_losses_are_finite_named_scalars_with_gradients(method, batch):
    losses = method.loss(*batch)
    assert losses and all(loss.shape == () and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in method.parameters())


def test_an_image_without_objects_gives_every_weight_a_gradient(method, batch):
    images, targets = batch
    sum(method.loss(images, [target[:0] for target in targets]).values()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in method.parameters())


def test_neither_loss_nor_forward_depends_on_the_order_of_objects(method, batch):
    images, targets = batch
    turned = [target[::-1] for target in targets]
    first, second = method.loss(images, targets), method.loss(images, turned)
    for name in first:
        torch.testing.assert_close(first[name], second[name])


def test_the_ideal_outputs_decode_to_the_truth(method, batch):
    _, targets = batch
    found = method.decode(method.ideal(targets, frames_of(targets)), frames_of(targets))
    for ours, theirs in zip(found, targets, strict=True):
        assert len(ours) == len(theirs)
        dense, truth = ours.dense(), theirs.dense()
        for mask, label in zip(dense, ours.labels, strict=True):
            overlaps = [(mask & other).sum() / (mask | other).sum() for other in truth]
            assert max(overlaps) > 0.99
            assert theirs.labels[int(np.argmax(overlaps))] == label


def test_the_ideal_outputs_are_shaped_as_the_real_ones(method, batch):
    images, targets = batch
    real, ideal = method.infer(images, frames_of(targets)), method.ideal(targets, frames_of(targets))
    assert real.keys() == ideal.keys()
    tables = {name for name in real if is_table(name, real) and is_table(name, ideal)}
    for name in real:
        ours, theirs = real[name].shape, ideal[name].shape
        assert (ours[0], len(ours)) == (theirs[0], len(theirs)) if name in tables else ours == theirs, name


def is_table(name: str, outputs: dict[str, torch.Tensor]) -> bool:
    """Whether an output has a row for each found object: as many as were found, masks as large as these are."""
    slots = outputs["scores"].shape[1] if "scores" in outputs and outputs["scores"].ndim == 2 else None
    return outputs[name].shape[1] == slots


def test_no_objects_ideally_decode_to_none(method):
    target = Instances.empty(SIZE)
    (found,) = method.decode(method.ideal([target], frames_of([target])), frames_of([target]))
    assert len(found) == 0 and found.size == SIZE and found.scores is not None


def test_objects_come_back_at_the_original_size(method):
    target = boxes_truth((64, 96) and SIZE)
    frame = Frame(original=(64, 96), size=SIZE)
    label_map = np.kron(target.label_map(), np.ones((2, 2), np.uint16))
    original = Instances.from_label_map(label_map, labels=target.labels)
    (found,) = method.decode(method.ideal([original], [frame]), [frame])
    assert found.size == (64, 96) and len(found) == 3
    overlaps = [max((a & b).sum() / (a | b).sum() for b in original.dense()) for a in found.dense()]
    assert min(overlaps) > 0.85


def test_an_image_gives_the_same_outputs_alone_and_in_a_padded_batch(method):
    generator = torch.Generator().manual_seed(2)
    small, large = torch.rand(1, 20, 27, generator=generator), torch.rand(1, *SIZE, generator=generator)
    canvas = torch.zeros(2, 1, *SIZE)
    canvas[0, :, :20, :27], canvas[1] = small, large
    frames = [Frame((20, 27), (20, 27)), Frame(SIZE, SIZE)]
    method.eval()
    together, alone = method.infer(canvas, frames), method.infer(small[None], frames[:1])
    height, width = (-(-side // method.stride) * method.stride for side in SIZE)
    for name, both in together.items():
        if both.ndim != 4 or height % both.shape[2] or width % both.shape[3]:
            continue  # rows of objects: they are compared below
        rows, columns = -(-20 * both.shape[2] // height), -(-27 * both.shape[3] // width)
        torch.testing.assert_close(
            both[:1, :, :rows, :columns], alone[name][:, :, :rows, :columns], rtol=1e-4, atol=1e-5
        )
    first, only = method.decode(together, frames)[0], method.decode(alone, frames[:1])[0]
    assert np.array_equal(first.dense(), only.dense()) and np.array_equal(first.labels, only.labels)
    np.testing.assert_allclose(first.scores, only.scores, rtol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (17, 31)])
def test_any_image_size_can_be_predicted(method, size):
    (found,) = method.predict(torch.rand(1, 1, *size))
    assert found.size == size


def test_predicting_leaves_the_training_mode_as_it_was(method):
    for training in (True, False):
        method.train(training).predict(torch.rand(1, 1, 16, 16))
        assert method.training is training


def test_loss_and_forward_do_not_read_the_training_mode(method, batch):
    images, targets = batch
    for module in method.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    first, second = method.train().loss(images, targets), method.eval().loss(images, targets)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_arguments_are_kept_as_plain_values(method):
    rebuilt = type(method)(**method.arguments)
    assert rebuilt.arguments == method.arguments
    json.dumps({name: value for name, value in method.arguments.items() if not isinstance(value, Normalization)})


def test_a_few_steps_lower_the_loss(method, batch):
    images, targets = batch
    truth = [target.label_map() > 0 for target in targets]
    images = torch.from_numpy(np.stack(truth)[:, None].astype(np.float32)) + 0.1 * images
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-2)
    course = []
    for _ in range(30):
        optimizer.zero_grad()
        total = sum(method.loss(images, targets).values())
        total.backward()
        optimizer.step()
        course.append(total.item())
    assert np.mean(course[-3:]) < 0.6 * np.mean(course[:3])


def test_what_follows_the_data_is_kept_as_an_argument(method):
    before = set(method.arguments)
    method.adapt(Statistics(np.array([30, 400]), np.array([[5, 6], [20, 20]]), np.array([2])))
    assert set(method.arguments) == before
    assert type(method)(**method.arguments).arguments == method.arguments


@pytest.mark.parametrize("name", ["MaskRCNN", "PointRend", "YOLACT", "PolarMask"])
def test_objects_that_share_their_boxes_are_suppressed_unless_the_data_is_known(name):
    layers = np.zeros((2, 64, 64), np.uint16)
    layers[0, 4:44, 4:44], layers[1, 4:44, 14:54] = 1, 2  # IoU 30 / 50
    truth, frame = Instances.from_layers(layers), Frame((64, 64), (64, 64))

    def left(method: Method) -> int:
        (found,) = method.decode(method.ideal([truth], [frame]), [frame])
        return len(found)

    assert left(made(name)) == 1
    known = made(name)
    known.adapt(Statistics.of([truth]))
    assert known.nms == 0.62 and left(known) == 2
    given = made(name, nms=0.3)
    given.adapt(Statistics.of([truth]))
    assert given.nms == 0.3 and left(given) == 1


def test_suppression_by_masks_does_not_follow_boxes():
    sticks = np.zeros((2, 40, 40), np.uint16)
    sticks[0, 18:22], sticks[1, :, 18:22], sticks[1, 0, 0], sticks[0, 39, 39] = 1, 2, 2, 1
    method = made("PolarMask", suppression="masks")
    method.adapt(Statistics.of([Instances.from_layers(sticks)]))
    assert method.nms == 0.5


@pytest.mark.parametrize(("channels", "found"), list(product((1, 3), (1, 2, 3, 4))))
def test_channels_are_made_to_fit_or_refused(channels, found):
    method = made("SpatialEmbedding", channels=channels)
    image = np.random.default_rng(0).integers(0, 255, (8, 9, found)).astype(np.uint8)
    if (channels, found) in ((1, 3), (1, 4)):
        with pytest.raises(ValueError, match=f"{found} channels"):
            method.normalize(image)
    else:
        assert method.normalize(image).shape == (channels, 8, 9)


def test_grey_saved_as_color_is_grey():
    grey = np.arange(72, dtype=np.uint8).reshape(8, 9, 1)
    method = made("SpatialEmbedding")
    assert np.array_equal(method.normalize(np.repeat(grey, 3, 2)), method.normalize(grey))


@pytest.mark.parametrize(
    ("name", "argument", "fine", "coarse"),
    [("MaskRCNN", "first", 1, 2), ("PointRend", "first", 1, 2), ("SOLO", "finest", None, 4)],
)
def test_detectors_of_large_objects_work_on_coarser_features(name, argument, fine, coarse):
    kind: Any = methods.find(name)

    def adapted(side: int, **options: Any) -> Method:
        method = kind(num_classes=1, channels=1, **options)
        method.adapt(Statistics(np.full(9, side**2), np.full((9, 2), side), np.array([9])))
        return method

    assert adapted(20).arguments[argument] == fine
    assert adapted(100).arguments[argument] == coarse
    given = fine or 2
    assert adapted(100, **{argument: given}).arguments[argument] == given
    large = adapted(100)
    assert kind(**large.arguments).state_dict().keys() == large.state_dict().keys()
