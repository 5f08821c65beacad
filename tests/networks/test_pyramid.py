import pytest
import torch
from torch import nn

from apiece.networks.pyramid import Pyramid


def randomized(module):
    """Statistics, scales, shifts and biases that fresh networks would hide errors with."""
    for tensor in module.state_dict().values():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5)
    return module.eval()


@pytest.mark.parametrize(
    ("function", "options"),
    [
        ("maskrcnn_resnet50_fpn", {"extra": "pool"}),
        ("maskrcnn_resnet50_fpn_v2", {"extra": "pool", "pyramid_norm": "batch"}),
        ("fcos_resnet50_fpn", {"first": 3, "extra": "p6p7"}),
    ],
)
def test_names_and_maps_are_those_of_torchvisions_detectors(function, options):
    from torchvision.models import detection

    theirs = randomized(getattr(detection, function)(weights=None, weights_backbone=None).backbone)
    own = Pyramid("resnet50", **options).eval()
    own.load_state_dict(theirs.state_dict())
    images = torch.rand(1, 3, 64, 101)
    with torch.no_grad():
        found, expected = own(images), list(theirs(images).values())
    assert len(found) == len(expected) == len(own.strides)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_yolacts_pyramid_enlarges_smoothly_rectifies_and_lets_its_last_levels_be_negative():
    pyramid = randomized(
        Pyramid("tiny", 3, first=3, width=8, extra="p6p7_linear", upsampling="bilinear", rectified=True)
    )
    pyramid.fpn.extra_blocks["p6"].weight.data.normal_()
    images = torch.randn(1, 3, 72, 88)
    with torch.no_grad():
        third, fourth, fifth = pyramid.body(images)
        inner, outer, extra = (pyramid.fpn.get_submodule(f"{name}_blocks") for name in ("inner", "layer", "extra"))
        top = inner[2](fifth)
        middle = inner[1](fourth) + nn.functional.interpolate(top, size=fourth.shape[2:], mode="bilinear")
        low = inner[0](third) + nn.functional.interpolate(middle, size=third.shape[2:], mode="bilinear")
        expected = [outer[0](low).relu(), outer[1](middle).relu(), outer[2](top).relu()]
        expected.append(extra["p6"](expected[-1]))
        expected.append(extra["p7"](expected[-1]))
        found = pyramid(images)
    assert all(torch.allclose(one, other) for one, other in zip(found, expected, strict=True))
    assert (found[3] < 0).any() and not any((one < 0).any() for one in found[:3])
    assert pyramid.strides == (8, 16, 32, 64, 128)


@pytest.mark.parametrize("extra", ["none", "pool", "p6p7", "p6p7_linear"])
@pytest.mark.parametrize("first", [1, 2, 3])
def test_strides_are_those_of_the_maps_and_every_parameter_has_a_gradient(extra, first):
    pyramid = Pyramid("tiny", 2, first=first, width=8, extra=extra)
    maps = pyramid(torch.rand(2, 2, 96, 160))
    assert pyramid.stride == 32
    assert [tuple(one.shape) for one in maps] == [
        (2, pyramid.width, -(-96 // stride), -(-160 // stride)) for stride in pyramid.strides
    ]
    sum(one.square().sum() for one in maps).backward()
    assert all(parameter.grad is not None for parameter in pyramid.parameters())


def test_pooling_takes_every_other_pixel_of_the_last_map():
    maps = Pyramid("tiny", 3, width=8, extra="pool").eval()(torch.rand(1, 3, 96, 160))
    assert torch.equal(maps[4], maps[3][..., ::2, ::2])


def test_frozen_stages_learn_nothing_and_keep_their_statistics_while_training():
    pyramid = Pyramid("resnet18", 3, last=3, width=8, frozen_stages=2).train()
    before = {name: tensor.clone() for name, tensor in pyramid.state_dict().items()}
    sum(one.sum() for one in pyramid(torch.rand(2, 3, 32, 32))).backward()
    still = {name for name, tensor in pyramid.state_dict().items() if torch.equal(tensor, before[name])}
    assert {name for name in before if name.startswith(("body.conv1", "body.bn1", "body.layer1"))} <= still
    assert "body.layer2.0.bn1.running_mean" not in still
    idle = {name for name, parameter in pyramid.named_parameters() if parameter.grad is None}
    assert idle == {
        name for name, _ in pyramid.named_parameters() if name.startswith(("body.conv1", "body.bn1", "body.layer1"))
    }


def test_a_finer_level_knows_what_a_coarser_one_sees():
    pyramid = Pyramid("tiny", 1, width=8).eval()
    image = torch.rand(1, 1, 256, 256, requires_grad=True)
    pyramid(image)[0][0, :, 32, 32].sum().backward()
    seen = image.grad[0, 0].abs().sum(0).nonzero().flatten()
    # Level 2 alone sees 3 + 4 + 2 + 8 + 8 + 8 = 33 pixels.
    assert seen[-1] - seen[0] > 100
