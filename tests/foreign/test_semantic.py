"""Published semantic networks as starts of a Discriminative: their probabilities stay, embeddings are fresh."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import apiece
from apiece import checkpoint
from apiece.cli import main
from apiece.data.generated import discs
from apiece.errors import InputError
from apiece.foreign import ademxapp, enet, erfnet, semantic
from apiece.importation import import_checkpoint
from apiece.methods.discriminative import Discriminative
from apiece.networks.resnet38 import ResNet38
from apiece.training import train

from . import originals

MEAN, STD = (np.array(figures).reshape(3, 1, 1) for figures in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def image():
    return np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)


def as_zero_to_one():
    """What torchvision's ToTensor makes of it."""
    return torch.from_numpy(np.moveaxis(image(), 2, 0).astype(np.float32) / 255)[None]


def write_enet(path, state):
    # As its program does: the score is a NumPy number.
    torch.save({"epoch": 280, "miou": np.float64(0.65), "state_dict": state, "optimizer": {"state": {}}}, path)


def write_old(path, state):
    content = {"epoch": 280, "miou": np.float64(0.65), "state_dict": state, "optimizer": {"state": {}}}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def probabilities(model):
    """Of the background and of every class at each pixel, as `predict` has them."""
    pixels = torch.from_numpy(model.normalize(image()))[None]
    with torch.no_grad():
        logits = model(pixels, torch.tensor([[32, 48]]))["semantic"].double()
    return torch.nn.functional.pad(logits, (0, 0, 0, 0, 1, 0)).softmax(1)


@pytest.mark.parametrize(
    ("network", "classes", "write", "void"),
    [
        ("enet", 20, write_enet, 0),
        ("enet", 12, write_old, 11),
        ("erfnet", 20, lambda path, state: torch.save(state, path), 19),
        ("erfnet", 20, lambda path, state: torch.save({"epoch": 1, "arch": "ERFNet()", "state_dict": state}, path), 19),
    ],
)
def test_probabilities_are_the_published_networks_and_void_is_the_background(tmp_path, network, classes, write, void):
    state = getattr(originals, network)(classes)
    write(tmp_path / "model", state)
    model = import_checkpoint(tmp_path / "model")
    with torch.no_grad():
        wanted = getattr(originals, f"{network}_logits")(state, as_zero_to_one()).double().softmax(1)
    # Weights drawn at random tell classes apart, or nothing would be compared.
    assert wanted.amax(1).mean() > 0.3 and wanted.mean((0, 2, 3)).max() < 0.9
    order = [void, *(number for number in range(classes) if number != void)]
    assert torch.allclose(probabilities(model), wanted[:, order], atol=1e-5)
    assert isinstance(model, Discriminative) and model.num_classes == classes - 1 == len(model.card.classes)
    assert model.card.classes[0] == {12: "sky", 20: "road"}[classes]
    assert model.card.license == {"enet": "MIT", "erfnet": "CC BY-NC 4.0"}[network]


def test_logits_of_a_thin_resnet38_are_the_published_ones_less_the_first_class():
    state = originals.resnet38(5, thinner=16)
    weights = {name.removeprefix("network."): tensor for name, tensor in ademxapp.start(state).items()}
    network = ResNet38(3, (8, 4), thinner=16).eval()
    missing, surplus = network.load_state_dict(weights, strict=False)
    assert set(missing) == {"heads.0.weight", "heads.0.bias"} and not surplus
    pixels = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        theirs = originals.resnet38_logits(state, pixels)
        found = network(pixels)[1]
    wanted = torch.nn.functional.interpolate(theirs[:, 1:] - theirs[:, :1], size=(32, 48), mode="bilinear")
    assert theirs.std() > 0.1 and torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))


def test_its_images_are_normalized_as_imagenets():
    arguments = ademxapp.describe(originals.resnet38(19, thinner=16))[1]
    wanted = (np.moveaxis(image(), 2, 0) / 255 - MEAN) / STD
    np.testing.assert_allclose(arguments["normalization"](image()), wanted, atol=1e-5)
    assert arguments["num_classes"] == 18 and arguments["network"] == "resnet38"
    encoder = erfnet.describe({"module.features.encoder.x": torch.zeros(1)})[1]
    np.testing.assert_allclose(encoder["normalization"](image()), wanted, atol=1e-5)


@pytest.mark.slow
def test_a_whole_resnet38_of_mxnet_becomes_a_model(tmp_path):
    state = originals.resnet38(19)
    (tmp_path / "cityscapes_rna-a1_cls19_s8_ep-0001.params").write_bytes(originals.params(state))
    model = import_checkpoint(tmp_path / "cityscapes_rna-a1_cls19_s8_ep-0001.params")
    pixels = torch.from_numpy(((np.moveaxis(image(), 2, 0) / 255 - MEAN) / STD).astype(np.float32))[None]
    with torch.no_grad():
        logits = originals.resnet38_logits(state, pixels)
    wanted = torch.nn.functional.interpolate(logits, size=(32, 48), mode="bilinear").double().softmax(1)
    assert torch.allclose(probabilities(model), wanted, atol=1e-4)
    assert model.card.classes[0] == "sidewalk" and model.card.license == "Apache-2.0"


def test_a_resnet38s_classes_are_known_by_their_number():
    named = {
        classes: ademxapp.classes({"arg:linear_weight": torch.zeros(1), **linear(classes)}) for classes in (19, 21, 150)
    }
    assert len(named[19]) == 18 and named[19][0] == "sidewalk"
    assert len(named[21]) == 20 and named[21][-1] == "tvmonitor"
    assert named[150] is None
    assert '("road")' in ademxapp.remark(linear(19)) and '("wall")' in ademxapp.remark(linear(150))


def linear(classes):
    return {f"arg:linear{classes}_weight": torch.zeros(classes, 2, 3, 3)}


def test_all_names_and_shapes_of_a_resnet38_are_those_of_the_method():
    with torch.device("meta"):
        state = originals.resnet38(19)
        own = Discriminative(**ademxapp.describe(state)[1]).state_dict()
        made = ademxapp.start(state)
    shapes = {name: tensor.shape for name, tensor in made.items()}
    assert shapes == {n: t.shape for n, t in own.items() if not n.startswith(ademxapp.fresh(state))}
    assert own.keys() - shapes.keys() == {"network.heads.0.weight", "network.heads.0.bias"}


def test_an_encoder_of_imagenet_starts_both_decoders_afresh(tmp_path, capsys):
    state = {
        name.replace("module.", "module.features."): tensor
        for name, tensor in originals.erfnet(20).items()
        if name.startswith("module.encoder.") and "output_conv" not in name
    }
    state |= {
        "module.classifier.linear.weight": torch.zeros(1000, 128),
        "module.classifier.linear.bias": torch.zeros(1000),
    }
    torch.save(
        {"epoch": 1, "arch": "erfnet", "state_dict": state, "best_prec1": torch.tensor(50.0)}, tmp_path / "e.pth.tar"
    )
    model = import_checkpoint(tmp_path / "e.pth.tar")
    assert "both decoders are fresh" in capsys.readouterr().err
    own = model.state_dict()["network.encoder.layers.14.conv1x3_2.weight"]
    assert torch.equal(own, state["module.features.encoder.layers.14.conv1x3_2.weight"])
    assert model.num_classes == 1 and model.state_dict()["network.decoders.0.output_conv.weight"].std() > 0


def test_fresh_embeddings_are_announced_and_the_same_each_time(tmp_path, capsys):
    write_enet(tmp_path / "ENet", originals.enet(20))
    before = torch.random.get_rng_state()
    model = import_checkpoint(tmp_path / "ENet")
    assert torch.equal(torch.random.get_rng_state(), before)
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path / 'ENet'}: PyTorch-ENet (davidtvs): 19 classes are known")
    assert '"unlabeled" has become the background; embeddings are fresh' in said
    assert model.card.training["remark"] in said and model.card.training["file"] == "ENet"
    torch.manual_seed(99)
    again = import_checkpoint(tmp_path / "ENet").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
    assert model.state_dict()["network.heads.0.weight"].std() > 0


def test_embeddings_of_an_erfnet_begin_from_its_classes(tmp_path):
    state = originals.erfnet(20)
    torch.save(state, tmp_path / "erfnet_pretrained.pth")
    own = import_checkpoint(tmp_path / "erfnet_pretrained.pth").state_dict()
    for head in (0, 1):
        layer = own[f"network.decoders.{head}.layers.4.conv3x1_1.weight"]
        assert torch.equal(layer, state["module.decoder.layers.4.conv3x1_1.weight"])
    assert own["network.decoders.0.output_conv.weight"].shape == (16, 8, 2, 2)


def test_a_start_is_trained_on_other_classes_and_keeps_those_it_knows(tmp_path):
    write_enet(tmp_path / "ENet", originals.enet(12))
    model = import_checkpoint(tmp_path / "ENet")
    checkpoint.save(model, tmp_path / "start.safetensors")
    fresh = Discriminative(**{**model.arguments, "num_classes": 2})
    fresh.card.classes = ("cell", "car")
    assert checkpoint.adopt(fresh, checkpoint.load(tmp_path / "start.safetensors")) == []
    theirs, own = (one.state_dict()["network.heads.1.weight"] for one in (model, fresh))
    assert torch.equal(own[:, 1], theirs[:, model.card.classes.index("car")]) and not torch.equal(
        own[:, 0], theirs[:, 0]
    )
    data = discs(2, (48, 48), seed=0, objects=(2, 3))
    learner = Discriminative(**{**model.arguments, "num_classes": len(data.classes)})
    options = {"steps": 1, "batch_size": 1, "crop": 32, "evaluations": 1, "precision": "32-true", "quiet": True}
    trained = train(learner, data, validation=0, start_from=tmp_path / "start.safetensors", **options)
    assert torch.isfinite(trained.state_dict()["network.heads.0.weight"]).all()


def test_the_command_writes_a_model_and_says_its_license(tmp_path, capsys):
    write_enet(tmp_path / "ENet", originals.enet(12))
    assert main(["import", str(tmp_path / "ENet")]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["method"] == "Discriminative" and told["license"] == "MIT" and "embeddings are fresh" in err
    Image.fromarray(image()).save(tmp_path / "image.png")
    assert apiece.predict(told["model"], tmp_path / "image.png").size == (32, 48)


def changed(network, fault):
    state = getattr(originals, network)(20)
    last = {"enet": "transposed_conv.weight", "erfnet": "module.decoder.output_conv.weight"}[network]
    norm = next(name for name in state if name.endswith("running_var"))
    if fault == "missing":
        del state[norm]
    elif fault == "another shape":
        state[norm] = torch.zeros(3)
    elif fault == "one class":
        state[last] = state[last][:, :1]
        state.pop("module.encoder.output_conv.bias", None)
    elif fault == "no dimensions":
        state[last] = torch.zeros(())
    return state


@pytest.mark.parametrize("network", ["enet", "erfnet"])
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("missing", r"the weight network\.\S+running_var is missing, where the method has it"),
        ("another shape", r"the weight network\.\S+running_var is \(3,\), where the method has it"),
        ("one class", "it tells no classes apart"),
        ("no dimensions", "do not fit"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, network, fault, sentence):
    torch.save(changed(network, fault), tmp_path / "bad.pth")
    with pytest.raises(InputError, match=rf"bad\.pth: looks like \S*(ENet|ERFNet) .*{sentence}") as error:
        import_checkpoint(tmp_path / "bad.pth")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"arg:fc1_weight": torch.zeros(2, 2)}, "the name 'arg:fc1_weight' is missing or unknown"),
        ({"arg:linear5_weight": torch.zeros(())}, "do not fit"),
        ({}, "the weight network.bn7.bias is \\(256,\\), where the method has it \\(4096,\\)"),
    ],
)
def test_another_resnet_is_refused(tmp_path, change, sentence):
    state = {**originals.resnet38(5, thinner=16), **change}
    state = {name: tensor if tensor.ndim else torch.zeros(1) for name, tensor in state.items()}
    (tmp_path / "bad.params").write_bytes(originals.params(state))
    with pytest.raises(InputError, match=rf"bad\.params: looks like ResNet-38.*{sentence}"):
        import_checkpoint(tmp_path / "bad.params")


def test_a_name_that_an_enet_has_not_makes_it_another_layout(tmp_path):
    torch.save({**originals.enet(20), "classifier.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth: holds 623 tensors .* none of the layouts known: .*PyTorch-ENet"):
        import_checkpoint(tmp_path / "other.pth")


def test_rows_are_taken_from_the_dimension_that_the_outputs_lie_along():
    weights = {
        "heads.0.weight": torch.arange(24.0).view(2, 3, 2, 2),
        "heads.0.bias": torch.tensor([1.0, 4, 9]),
        "a": torch.ones(2),
    }
    made = semantic.start(weights, 1, transposed=True)
    assert made["network.heads.1.bias"].tolist() == [-3, 5] and torch.equal(made["network.a"], torch.ones(2))
    assert torch.equal(made["network.heads.1.weight"][:, 0], torch.full((2, 2, 2), -4.0))
    assert torch.equal(made["network.heads.1.weight"][:, 1], torch.full((2, 2, 2), 4.0))


def test_names_of_other_numbers_of_classes_are_not_guessed():
    state = {enet.HEAD: torch.zeros(16, 7, 3, 3)}
    assert enet.classes(state) is None and "its first class has become the background" in enet.remark(state)
