"""Names of the published checkpoint, spelled out as they were read from one."""

import pytest
import torch

from apiece.foreign.enet import recognize, rename, translate
from apiece.networks.enet import ENet

READ = {
    "initial_block.main_branch.weight": (13, 3, 3, 3),
    "initial_block.out_activation.weight": (1,),
    "downsample1_0.ext_conv1.0.weight": (4, 16, 2, 2),
    "downsample1_0.ext_conv3.2.weight": (1,),
    "regular1_4.ext_conv2.0.weight": (16, 16, 3, 3),
    "downsample2_0.ext_conv3.0.weight": (128, 16, 1, 1),
    "dilated2_2.out_activation.weight": (1,),
    "asymmetric2_3.ext_conv2.0.weight": (32, 32, 5, 1),
    "asymmetric2_3.ext_conv2.3.weight": (32, 32, 1, 5),
    "asymmetric2_3.ext_conv2.5.weight": (1,),
    "regular3_0.ext_conv1.0.weight": (32, 128, 1, 1),
    "dilated3_7.out_activation.weight": (1,),
    "upsample4_0.main_conv1.0.weight": (64, 128, 1, 1),
    "upsample4_0.ext_tconv1.weight": (32, 32, 2, 2),
    "upsample4_0.ext_tconv1_bnorm.running_var": (32,),
    "upsample4_0.ext_conv2.1.bias": (64,),
    "regular4_2.ext_conv3.1.num_batches_tracked": (),
    "upsample5_0.ext_conv1.0.weight": (16, 64, 1, 1),
    "regular5_1.ext_conv2.0.weight": (4, 4, 3, 3),
    "transposed_conv.weight": (16, 20, 3, 3),
}


def published():
    """A checkpoint's names from ours."""
    kinds = ["regular", "dilated", "asymmetric", "dilated"] * 2

    def theirs(name):
        if name == "heads.0.weight":
            return "transposed_conv.weight"
        if not name.startswith("stage"):
            return name
        stage, number, rest = name.removeprefix("stage").split(".", 2)
        kind = "regular"
        if number == "0" and stage != "3":
            kind = "downsample" if stage in "12" else "upsample"
        elif stage in "23":
            kind = kinds[int(number) - (stage == "2")]
        return f"{kind}{stage}_{number}.{rest}"

    return {theirs(name): tensor.clone() for name, tensor in ENet(3, (20,), bias=False).state_dict().items()}


def test_a_published_checkpoint_has_the_names_and_shapes_that_were_read_from_one():
    state = published()
    assert len(state) == 622
    assert {name: tuple(state[name].shape) for name in READ} == READ


def test_a_published_checkpoint_fits_exactly():
    state = published()
    assert recognize(state)
    network = ENet(3, (20,), bias=False)
    network.load_state_dict(translate(state))
    assert torch.equal(network.stage2[3].ext_conv2[3].weight, state["asymmetric2_3.ext_conv2.3.weight"])
    assert torch.equal(network.heads[0].weight, state["transposed_conv.weight"])


@pytest.mark.parametrize("change", [{"classifier.weight": None}, {"decoder.0.weight": None}])
def test_other_checkpoints_are_not_taken_for_it(change):
    assert not recognize([*published(), *change])
    assert not recognize([])
    assert not recognize(["transposed_conv.weight"])


def test_other_names_stay():
    assert rename("encoder.layers.1.bn1.weight") == "encoder.layers.1.bn1.weight"
