import pytest
import torch

from apiece.networks.unet import UNet, shape_for


@pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8, 10)])
def test_every_head_has_the_size_of_the_images_whatever_the_depth(widths):
    network = UNet(2, heads=(1, 3), widths=widths)
    assert network.stride == 2 ** len(widths)
    outputs = network(torch.rand(2, 2, network.stride, 3 * network.stride))
    assert [tuple(output.shape) for output in outputs] == [(2, n, network.stride, 3 * network.stride) for n in (1, 3)]


def test_every_weight_has_a_gradient():
    network = UNet(1, heads=(1, 2), widths=(4, 6, 8))
    sum(output.square().mean() for output in network(torch.rand(2, 1, 16, 24))).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())
    assert all(weight.grad.abs().sum() > 0 for weight in network.parameters() if weight.dim() == 4)


def test_a_shift_by_the_stride_shifts_the_outputs():
    network = UNet(1, heads=(1,), widths=(4, 6)).eval()
    image = torch.zeros(1, 1, 64, 64)
    image[..., 24:36, 28:33] = torch.rand(12, 5)
    (here,), (there,) = network(image), network(image.roll((4, 8), (2, 3)))
    assert here.std() > 1e-4
    # Far enough from the border, where padding tells.
    assert torch.allclose(here.roll((4, 8), (2, 3))[..., 24:48, 24:48], there[..., 24:48, 24:48], atol=1e-6)


def test_a_head_tells_neighboring_pixels_apart():
    (output,) = UNet(1, heads=(1,), widths=(4, 6)).eval()(torch.rand(1, 1, 16, 16))
    rows = output[0, 0].unfold(0, 2, 2).unfold(1, 2, 2).reshape(-1, 4)
    assert (rows.std(1) > 1e-4).all()


@pytest.mark.parametrize(
    ("small", "large", "widths", "detail"),
    [
        (8, 40, (32, 64, 96, 128), 16),  # nuclei
        (18, 72, (32, 64, 96, 128), 16),  # leaves
        (18, 100, (32, 64, 96, 128, 128), 16),
        (73, 195, (24, 32, 64, 96, 128, 128), 0),  # fruits
        (73, 20_000, (24, 32, 64, 96, 128, 128, 128), 0),
        (0, 0, (32, 64, 96, 128), 16),
    ],
)
def test_the_deepest_stride_follows_large_objects_and_the_finest_level_small_ones(small, large, widths, detail):
    assert shape_for(small, large) == {"widths": widths, "detail": detail}
    assert UNet(**shape_for(small, large)).stride == 2 ** len(widths)
