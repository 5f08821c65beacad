import pytest
import torch
from torch import nn

from apiece.errors import CallError, InputError
from apiece.networks.backbones import backbone


@pytest.mark.parametrize("name", ["tiny", "small", "resnet18"])
@pytest.mark.parametrize(("first", "last"), [(1, 3), (2, 4)])
def test_levels_halve_and_have_the_widths_that_are_told(name, first, last):
    body = backbone(name, 2, first, last)
    maps = body(torch.rand(2, 2, 40, 72))
    assert body.strides == tuple(2**level for level in range(first, last + 1))
    assert body.stride == body.strides[-1]
    told = [
        (width, -(-40 // stride), -(-72 // stride)) for width, stride in zip(body.widths, body.strides, strict=True)
    ]
    assert [tuple(one.shape[1:]) for one in maps] == told


def test_nothing_is_kept_that_no_level_needs():
    body = backbone("resnet18", 3, 2, 4)
    sum(one.square().mean() for one in body(torch.rand(2, 3, 64, 64))).backward()
    assert all(parameter.grad is not None for parameter in body.parameters())
    assert not hasattr(body, "layer4") and not hasattr(body, "fc")


@pytest.mark.parametrize("name", ["tiny", "resnet18"])
def test_an_image_of_one_pixel_is_no_trouble(name):
    body = backbone(name, 3, 2, 5).eval()
    assert [tuple(one.shape[2:]) for one in body(torch.rand(1, 3, 1, 1))] == [(1, 1)] * 4


def test_a_small_stem_halves_every_stride_but_the_stems():
    body = backbone("resnet18", 3, 2, 5, small_stem=True)
    assert body.strides == (2, 4, 8, 16)
    assert [tuple(one.shape[1:]) for one in body(torch.rand(2, 3, 32, 64))] == [
        (64, 16, 32),
        (128, 8, 16),
        (256, 4, 8),
        (512, 2, 4),
    ]
    with pytest.raises(CallError, match="first=2"):
        backbone("resnet18", 3, 1, 5, small_stem=True)


def test_strides_may_be_in_the_first_convolution_of_a_bottleneck():
    def strides(body):
        return [
            (name, m.conv1.stride, m.conv2.stride)
            for name, m in body.named_modules()
            if hasattr(m, "conv3") and (m.conv1.stride, m.conv2.stride) != ((1, 1), (1, 1))
        ]

    usual, moved = backbone("resnet50", 3, 2, 3), backbone("resnet50", 3, 2, 3, stride_in_1x1=True)
    assert strides(usual) == [("layer2.0", (1, 1), (2, 2))]
    assert strides(moved) == [("layer2.0", (2, 2), (1, 1))]
    moved.load_state_dict(usual.state_dict())
    images = torch.rand(1, 3, 32, 32)
    one, two = (body.eval()(images)[1] for body in (usual, moved))
    assert one.shape == two.shape and not torch.allclose(one, two, rtol=1e-2)


def test_group_norm_has_no_statistics_to_keep_and_frozen_norm_nothing_to_learn():
    group, frozen = (backbone("resnet18", 3, 2, 3, norm=norm) for norm in ("group", "frozen"))
    assert not list(group.buffers())
    assert all("bn" not in name and "downsample.1" not in name for name, _ in frozen.named_parameters())


@pytest.fixture
def weights(tmp_path):
    """torchvision's file of ResNet-18 in torch's cache, with weights of ours."""
    from torchvision.models import resnet18

    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    state = {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in resnet18().state_dict().items()}
    # Old files have no counters.
    state = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    torch.save(state, tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    yield state
    torch.hub.set_dir(before)


def test_pretrained_weights_come_by_name_for_any_number_of_channels(weights):
    for channels in (1, 3, 5):
        state = backbone("resnet18", channels, 2, 4, pretrained=True).state_dict()
        for name, tensor in state.items():
            if "num_batches" not in name and name != "conv1.weight":
                assert torch.equal(tensor, weights[name]), name
        # An image that is equal in all channels gives what a gray one as color gives.
        assert torch.allclose(state["conv1.weight"].sum(1), weights["conv1.weight"].sum(1), rtol=1e-5)
        assert channels != 3 or torch.equal(state["conv1.weight"], weights["conv1.weight"])


def test_a_small_stem_starts_fresh_and_the_rest_is_pretrained(weights):
    state = backbone("resnet18", 3, 2, 4, pretrained=True, small_stem=True).state_dict()
    assert state["conv1.weight"].shape == (64, 3, 3, 3)
    assert torch.equal(state["layer2.1.conv2.weight"], weights["layer2.1.conv2.weight"])


def test_weights_that_cannot_be_had_are_a_sentence(tmp_path):
    before = torch.hub.get_dir()
    blocked = tmp_path / "file"
    blocked.write_text("")
    # No folder can be made in a file: the same kind of error as where no network is.
    torch.hub.set_dir(blocked)
    try:
        with pytest.raises(InputError, match="resnet18 could not be had from .* pretrained=False"):
            backbone("resnet18", pretrained=True)
    finally:
        torch.hub.set_dir(before)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"cposix\nsystem\n(S'false'\ntR."])
def test_a_damaged_or_harmful_file_in_the_cache_is_a_sentence(weights, tmp_path, content):
    (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(content)
    with pytest.raises(InputError, match="resnet18 could not be had"):
        backbone("resnet18", pretrained=True)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("tiny", {"pretrained": True}, "no pretrained weights"),
        ("small", {"norm": "group"}, "small has no norm"),
        ("resnet18", {"pretrained": True, "norm": "group"}, "batch norm"),
        ("resnet17", {}, "no backbone 'resnet17'|timm has no 'resnet17'"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(name, options, sentence):
    with pytest.raises(CallError, match=sentence):
        backbone(name, **options)


def test_timm_gives_any_other_network():
    pytest.importorskip("timm", reason="timm is not installed")
    body = backbone("mobilenetv3_small_050", 2, 2, 4).eval()
    assert [tuple(one.shape[1:]) for one in body(torch.rand(1, 2, 64, 96))] == [
        (width, 64 // stride, 96 // stride) for width, stride in zip(body.widths, (4, 8, 16), strict=True)
    ]


def test_the_thin_ones_have_as_many_parameters_as_ever():
    counts = [sum(p.numel() for p in backbone(name).parameters()) for name in ("tiny", "small")]
    # 9 a b + 2 b for each convolution a -> b.
    pairs = [[(3, 16), (16, 16), (16, 24), (24, 24), (24, 32), (32, 32), (32, 48), (48, 48), (48, 64), (64, 64)]]
    pairs += [
        [(3, 32), (32, 32), (32, 64), (64, 64), (64, 96), (96, 96), (96, 128), (128, 128), (128, 160), (160, 160)]
    ]
    assert counts == [sum(9 * a * b + 2 * b for a, b in one) for one in pairs]
    assert all(isinstance(m.bias, type(None)) for m in backbone("tiny").modules() if isinstance(m, nn.Conv2d))
