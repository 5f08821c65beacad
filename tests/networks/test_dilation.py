import pytest
import torch

from apiece.networks.dilation import Dilation


def test_parameters_are_as_many_as_the_paper_of_the_discriminative_loss_says():
    with torch.device("meta"):
        network = Dilation(3, (19,))
    assert sum(parameter.numel() for parameter in network.parameters()) == 134_338_387


def test_its_tensors_are_those_of_torchvisions_vgg16_one_after_another():
    from torchvision.models import vgg16

    with torch.device("meta"):
        network, theirs = Dilation(3, (19,)), vgg16()
    names = [name for name in theirs.state_dict() if not name.startswith("classifier.6.")]
    own = list(network.front.state_dict().values())
    assert [one.numel() for one in own] == [theirs.state_dict()[name].numel() for name in names]
    assert own[-4].shape == (4096, 512, 7, 7)


@pytest.mark.parametrize("size", [(8, 8), (13, 30), (64, 40)])
def test_every_head_has_the_size_of_the_image_and_every_parameter_a_gradient(size):
    network = Dilation(2, (4, 1), thinner=32)
    outputs = network(torch.rand(2, 2, *size))
    assert [tuple(output.shape) for output in outputs] == [(2, 4, *size), (2, 1, *size)]
    sum(output.square().sum() for output in outputs).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_an_output_sees_186_pixels_to_each_side_by_which_the_original_enlarges_images():
    network = Dilation(1, (1,), thinner=64).eval()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    image = torch.zeros(1, 1, 16, 800, requires_grad=True)
    # All pixels being equal, each maximum is its window's first.
    network.front(image)[0, 0, 0, 50].backward()
    columns = image.grad[0, 0].abs().sum(0).nonzero().flatten()
    assert (columns[0].item(), columns[-1].item()) == (50 * 8 - 186, 50 * 8 + 186)
