"""Names of the published checkpoint: made from our network's own, and a few spelled out as they were read."""

import pytest
import torch

from apiece.foreign.spatial_embeddings import recognize, translate
from apiece.networks.erfnet import ERFNet

PUBLISHED = [
    "module.encoder.initial_block.conv.weight",
    "module.encoder.initial_block.bn.num_batches_tracked",
    "module.encoder.layers.1.conv3x1_1.weight",
    "module.encoder.layers.14.bn2.running_var",
    "module.encoder.output_conv.weight",
    "module.encoder.output_conv.bias",
    "module.decoders.0.layers.0.conv.weight",
    "module.decoders.0.layers.5.conv1x3_2.bias",
    "module.decoders.0.output_conv.weight",
    "module.decoders.1.layers.4.bn1.weight",
    "module.decoders.1.output_conv.bias",
]


@pytest.fixture
def published():
    """A checkpoint as the authors' program writes it: 433 names."""
    state = {f"module.{name}": value.clone() for name, value in ERFNet(heads=(3, 1)).state_dict().items()}
    state["module.encoder.output_conv.weight"] = torch.zeros(4, 128, 1, 1)
    state["module.encoder.output_conv.bias"] = torch.zeros(4)
    return state


def test_a_published_checkpoint_has_the_names_that_were_read_from_one(published):
    assert len(published) == 433
    assert set(PUBLISHED) <= set(published)


def test_a_published_checkpoint_fits_a_network_exactly(published):
    holder = torch.nn.Module()
    holder.network = ERFNet(heads=(3, 1))
    holder.load_state_dict(translate(published))
    for name, value in holder.network.state_dict().items():
        assert torch.equal(value, published[f"module.{name}"])


def test_names_without_the_prefix_are_known_too(published):
    bare = {name.removeprefix("module."): value for name, value in published.items()}
    assert recognize(bare)
    assert translate(bare).keys() == translate(published).keys()


def test_other_checkpoints_are_not_taken_for_it(published):
    assert recognize(published)
    assert not recognize([])
    assert not recognize(["module.encoder.initial_block.conv.weight"])
    assert not recognize([name.replace("decoders.1", "decoders.2") for name in published])
    assert not recognize([*published, "module.classifier.weight"])
    # Plain ERFNet has one decoder, called so.
    assert not recognize([name.replace("decoders.0", "decoder") for name in published if "decoders.1" not in name])
