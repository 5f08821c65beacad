import pytest
import torch

from apiece.networks.residual import Residual


@pytest.mark.parametrize("detail", [0, 4])
@pytest.mark.parametrize("encoder", ["tiny", "resnet18", "resnet50"])
def test_every_head_has_the_size_of_the_images_and_every_parameter_a_gradient(encoder, detail):
    network = Residual(2, (3, 1), encoder, widths=(8, 8, 12, 16), detail=detail)
    assert network.stride == 32
    outputs = network(torch.rand(2, 2, 32, 64))
    assert [tuple(output.shape) for output in outputs] == [(2, 3, 32, 64), (2, 1, 32, 64)]
    sum(output.square().mean() for output in outputs).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_encoder_has_torchvisions_names():
    from torchvision.models import resnet34

    with torch.device("meta"):
        own = {name.removeprefix("body.") for name in Residual(3, (1,), "resnet34").state_dict() if "body." in name}
        theirs = {name for name in resnet34().state_dict() if not name.startswith("fc.")}
    assert own == theirs


def test_a_shift_by_the_stride_shifts_the_outputs():
    network = Residual(1, (1,), "tiny", widths=(4, 4, 4, 4)).eval()
    image = torch.zeros(1, 1, 448, 448)
    image[..., 200:212, 210:215] = torch.rand(12, 5)
    (here,), (there,) = network(image), network(image.roll((32, 64), (2, 3)))
    assert here.std() > 1e-4
    middle = slice(192, 256)
    assert torch.allclose(here.roll((32, 64), (2, 3))[..., middle, middle], there[..., middle, middle], atol=1e-5)
