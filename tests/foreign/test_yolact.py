"""Names of the authors' checkpoints: all find their place, with the shapes they have."""

import pytest
import torch

from apiece import checkpoint, methods
from apiece.foreign import yolact
from apiece.methods.yolact import YOLACT


def published(model: YOLACT) -> dict[str, torch.Tensor]:
    """A model's weights under the names, and in the order of rows, of github.com/dbolya/yolact @902073d."""
    names = {"backbone.body.": "backbone.", "semantic.": "semantic_seg_conv."}
    names |= {f"backbone.body.layer{n}.": f"backbone.layers.{n - 1}." for n in (1, 2, 3, 4)}
    names |= {f"backbone.fpn.inner_blocks.{n}.0.": f"fpn.lat_layers.{2 - n}." for n in range(3)}
    names |= {f"backbone.fpn.layer_blocks.{n}.0.": f"fpn.pred_layers.{2 - n}." for n in range(3)}
    names |= {f"backbone.fpn.extra_blocks.p{6 + n}.": f"fpn.downsample_layers.{n}." for n in (0, 1)}
    names |= {f"protonet.layers.{n}.0.": f"proto_net.{2 * n}." for n in range(3)}
    names |= {"protonet.last.0.": "proto_net.8.", "protonet.prototypes.": "proto_net.10."}
    names |= {"head.layers.0.0.": "prediction_layers.0.upfeature.0.", "head.boxes.": "prediction_layers.0.bbox_layer."}
    names |= {"head.coefficients.": "prediction_layers.0.mask_layer."}
    names |= {f"rescorer.layers.{n}.0.": f"maskiou_net.maskiou_net.{2 * n}." for n in range(5)}
    names |= {"rescorer.classes.": "maskiou_net.maskiou_net.10."}
    state = {}
    for key, tensor in model.state_dict().items():
        if not key.startswith(("head.background.", "head.classes.")):
            start = max((start for start in names if key.startswith(start)), key=len)
            state[names[start] + key.removeprefix(start)] = tensor
    for ending in ("weight", "bias"):
        background, classes = (model.state_dict()[f"head.{name}.{ending}"] for name in ("background", "classes"))
        rows = torch.stack([background, *classes.split(len(background))], 1)
        state[f"prediction_layers.0.conf_layer.{ending}"] = rows.flatten(0, 1)
    return state


@pytest.fixture(scope="module")
def model() -> YOLACT:
    torch.manual_seed(0)
    return YOLACT(4, network="resnet50", norm="frozen", rescoring=True)


def test_a_published_checkpoint_finds_its_place(model):
    state = published(model)
    assert yolact.recognize(state)
    # What PyTorch's own norms have besides, and layers of version 1.0 that nothing uses.
    state["backbone.bn1.num_batches_tracked"] = torch.tensor(0)
    state["fpn.downsample_layers.2.weight"] = torch.zeros(1)
    name, arguments = yolact.describe(state)
    rebuilt = checkpoint.build(methods.find(name), arguments, yolact.translate(state))
    own = rebuilt.state_dict()
    assert all(torch.equal(tensor, own[key]) for key, tensor in model.state_dict().items())


def test_arguments_are_those_it_was_published_with(model):
    _, arguments = yolact.describe(published(model))
    assert arguments["network"] == "resnet50" and arguments["num_classes"] == 4 and arguments["rescoring"]
    assert arguments["square_anchors"] and arguments["anchor_sizes"][0] == 24 and arguments["warp"] == 550


def test_nine_priors_at_a_place_are_three_scales_and_not_square():
    state = published(YOLACT(4, network="resnet50", norm="frozen", anchor_scales=(1.0, 1.26, 1.587)))
    _, arguments = yolact.describe(state)
    assert len(arguments["anchor_scales"]) == 3 and not arguments["square_anchors"] and not arguments["rescoring"]


def test_deformable_convolutions_are_refused(model):
    state = {**published(model), "backbone.layers.1.0.conv2.conv_offset_mask.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match="deformable"):
        yolact.describe(state)


def test_other_checkpoints_are_not_taken_for_one():
    assert not yolact.recognize(["backbone.conv1.weight", "fpn.lat_layers.0.weight"])
