"""Names of the published checkpoints: made from our network's own, and a few spelled out as they were read."""

import torch

from apiece.foreign import spatial_embeddings
from apiece.foreign.erfnet import recognize, translate
from apiece.networks.erfnet import ERFNet


def semantic():
    state = {}
    for name, tensor in ERFNet(3, (20,)).state_dict().items():
        state[f"module.{name.replace('decoders.0.', 'decoder.')}"] = tensor.clone()
    return {
        **state,
        "module.encoder.output_conv.weight": torch.zeros(20, 128, 1, 1),
        "module.encoder.output_conv.bias": torch.zeros(20),
    }


def imagenet():
    state = {f"module.features.{name}": tensor for name, tensor in ERFNet(3, ()).state_dict().items()}
    return {
        **state,
        "module.classifier.linear.weight": torch.zeros(1000, 128),
        "module.classifier.linear.bias": torch.zeros(1000),
    }


def test_published_checkpoints_have_the_names_that_were_read_from_them():
    assert len(semantic()) == 345
    assert {"module.decoder.layers.5.bn2.running_var", "module.decoder.output_conv.weight"} <= set(semantic())
    assert {"module.features.encoder.initial_block.conv.weight", "module.features.encoder.layers.14.bn2.bias"} <= set(
        imagenet()
    )


def test_the_semantic_network_fits_exactly():
    state = semantic()
    assert recognize(state) and not spatial_embeddings.recognize(state)
    network = ERFNet(3, (20,))
    network.load_state_dict(translate(state))
    assert torch.equal(network.decoders[0].output_conv.weight, state["module.decoder.output_conv.weight"])


def test_the_imagenet_encoder_fits_the_encoder_of_any_heads():
    state = imagenet()
    assert recognize(state)
    missing, surplus = ERFNet(3, (2, 1)).load_state_dict(translate(state), strict=False)
    assert not surplus and all(name.startswith("decoders.") for name in missing)


def test_other_checkpoints_are_not_taken_for_them():
    branched = {f"module.{name}" for name in ERFNet(3, (3, 1)).state_dict()}
    assert spatial_embeddings.recognize(branched) and not recognize(branched)
    assert not recognize([])
    assert not recognize([*semantic(), "head.weight"])
