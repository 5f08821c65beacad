"""Model files: what comes back is what was saved, and whatever else a file holds is refused in one sentence."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import apiece
from apiece import checkpoint
from apiece.errors import CallError, InputError
from apiece.methods.method import Card
from apiece.methods.spatial_embedding import SpatialEmbedding
from apiece.parts.normalization import Normalization


def tiny(num_classes: int = 1, **options) -> SpatialEmbedding:
    return SpatialEmbedding(**{"num_classes": num_classes, "channels": 1, "network": "tiny", **options})


def outputs(model) -> dict[str, torch.Tensor]:
    images = torch.rand(2, model.channels, 24, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.eval().forward(images, torch.tensor([[24, 40], [20, 33]]))


# --- the way there and back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["tiny", "unet", "erfnet"])
def test_a_loaded_model_says_bit_for_bit_what_the_saved_one_said(tmp_path, network):
    model = tiny(2, network=network, widths=(8, 16), channels=3)
    # As it is after a training.
    model.to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
    checkpoint.save(model, tmp_path / "model.safetensors")
    loaded = apiece.load(tmp_path / "model.safetensors")
    assert not loaded.training
    ours, theirs = outputs(model), outputs(loaded)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_loaded_model_knows_all_that_the_saved_one_knew(tmp_path):
    model = tiny(
        2,
        sigma="elliptical",
        widths=(8, 16, 24),
        coordinate_step=0.01,
        min_size=7,
        normalization=Normalization(mean=(3.5,), std=(2.0,), power=1.0),
    )
    model.card = Card(
        classes=("date", "fig"),
        threshold=0.37,
        metrics={"validation": {"AP": 0.25}},
        data={"path": "fruit", "images": 3},
        license="CC BY 4.0",
        training={"steps": 7},
    )
    checkpoint.save(model, tmp_path / "model.safetensors")
    loaded = checkpoint.load(str(tmp_path / "model.safetensors"))
    assert type(loaded) is SpatialEmbedding
    assert loaded.arguments == model.arguments
    assert loaded.widths == (8, 16, 24) and loaded.normalization == model.normalization
    assert loaded.card == model.card


def test_what_followed_the_data_is_in_the_file(model_file):
    model = checkpoint.load(model_file)
    assert model.coordinate_step is not None and model.min_size is not None
    assert model.card.classes == ("disc",)
    assert model.card.training["steps"] == 2 and model.card.data["images"] == 4


def test_a_model_file_can_be_read_by_whoever_can_read_other_files(tmp_path):
    (tmp_path / "other").touch()
    checkpoint.save(tiny(), tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_saving_over_a_model_that_cannot_be_replaced_leaves_it(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be written"):
        checkpoint.save(tiny(), tmp_path / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


# --- files that are not what they should be -----------------------------------------------------------------------

BYTES = {
    "empty": lambda content: b"",
    "four bytes": lambda content: content[:4],
    "cut off": lambda content: content[: len(content) // 2],
    "a byte more": lambda content: content + b"\0",
    "text": lambda content: b"this is no model at all",
    "zeros": lambda content: bytes(1000),
    "a header larger than the file": lambda content: struct.pack("<Q", 1 << 40) + content[8:],
    "no JSON": lambda content: content[:8] + b"}" + content[9:],
    "a pickle": lambda content: b"\x80\x04\x95" + bytes(50),
}


@pytest.mark.parametrize("damage", BYTES)
def test_a_damaged_file_is_named(tmp_path, model_file, damage):
    path = tmp_path / "model.safetensors"
    path.write_bytes(BYTES[damage](model_file.read_bytes()))
    with pytest.raises(InputError, match=r"model\.safetensors: is damaged or no \.safetensors file"):
        checkpoint.load(path)


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nothing: there is no such file"):
        checkpoint.load(tmp_path / "nothing")
    with pytest.raises(InputError, match="is a folder, not a model file"):
        checkpoint.load(tmp_path)


@pytest.fixture
def rewritten(tmp_path, model_file):
    """Writes the trained model with other facts or tensors; None takes a tensor away."""

    def write(change=None, tensors=None, note=None):
        with safe_open(model_file, framework="pt") as file:
            kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads(file.metadata()["apiece"])
        if change is not None:
            change(facts)
        kept = {name: tensor for name, tensor in (kept | (tensors or {})).items() if tensor is not None}
        save_file(kept, tmp_path / "other.safetensors", {"apiece": json.dumps(facts) if note is None else note})
        return tmp_path / "other.safetensors"

    return write


def test_a_newer_file_asks_for_an_update(rewritten):
    path = rewritten(lambda facts: facts.update(layout=checkpoint.LAYOUT + 1, version="77.1"))
    with pytest.raises(InputError, match=r"was written by apiece 77\.1, this is .*: please update"):
        checkpoint.load(path)


def test_a_file_whose_weights_meant_something_else_is_not_taken_for_one_of_today(rewritten):
    path = rewritten(lambda facts: facts.update(layout=checkpoint.LAYOUT - 1, version="0.0.1"))
    with pytest.raises(InputError, match=r"was written by an earlier apiece \(0\.0\.1\).*train it anew"):
        checkpoint.load(path)


def test_a_foreign_file_is_told_how_to_become_a_model(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "foreign.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="is no apiece model; `apiece import`"):
        checkpoint.load(tmp_path / "foreign.safetensors")


FACTS = {
    "no class": lambda facts: facts.pop("class"),
    "an unknown class": lambda facts: facts.update({"class": "Module"}),
    "a class that is a list": lambda facts: facts.update({"class": ["SpatialEmbedding"]}),
    "an unknown argument": lambda facts: facts["arguments"].update(code="print()"),
    "a number that is text": lambda facts: facts["arguments"].update(margin="wide"),
    "an unknown network": lambda facts: facts["arguments"].update(network="huge"),
    "a negative count": lambda facts: facts["arguments"].update(num_classes=-1),
    "more classes than memory": lambda facts: facts["arguments"].update(num_classes=10**12),
    "more channels than memory": lambda facts: facts["arguments"].update(channels=10**9),
    "a wrong normalization": lambda facts: facts["arguments"].update(normalization=3),
    "a normalization of text": lambda facts: facts["arguments"]["normalization"].update(low="low"),
    "an unknown normalization": lambda facts: facts["arguments"]["normalization"].update(code="print()"),
    "no card": lambda facts: facts.pop("card"),
    "a card that is a list": lambda facts: facts.update(card=[]),
    "an unknown field": lambda facts: facts["card"].update(mood="good"),
    "a threshold of text": lambda facts: facts["card"].update(threshold="high"),
    "too many classes": lambda facts: facts["card"].update(classes=["a", "b"]),
    "classes that are numbers": lambda facts: facts["card"].update(classes=[3]),
}


@pytest.mark.parametrize("fault", FACTS)
def test_facts_that_cannot_be_are_refused_before_memory_is_taken(rewritten, fault):
    with pytest.raises(InputError, match="is damaged, or made by another version"):
        checkpoint.load(rewritten(FACTS[fault]))


def test_weights_that_do_not_fit_are_named(rewritten, model_file):
    name, tensor = next(iter(checkpoint.load(model_file).named_parameters()))
    tensor = tensor.detach()
    with pytest.raises(InputError, match=rf"the weight {name} is missing, where the method has it \(8, 1, 3, 3\)"):
        checkpoint.load(rewritten(tensors={name: None}))
    with pytest.raises(InputError, match=rf"the weight {name} is \(8, 1, 3\), where"):
        checkpoint.load(rewritten(tensors={name: tensor[..., 0].clone()}))
    with pytest.raises(InputError, match="the weight spare is .*, where the method has it missing"):
        checkpoint.load(rewritten(tensors={"spare": tensor.clone()}))


@pytest.mark.parametrize("note", ["[1]", "3", '"text"', "{no", "[" * 100_000])
def test_notes_that_are_no_facts_are_refused(rewritten, note):
    with pytest.raises(InputError, match="is damaged"):
        checkpoint.load(rewritten(note=note))


# --- starting from another model ----------------------------------------------------------------------------------


def named(model, *classes: str):
    model.card.classes = classes
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def of_classes(network: str, *classes: str):
    return named(tiny(len(classes), network=network, widths=(8, 16)), *classes)


@pytest.mark.parametrize("network", ["tiny", "unet", "erfnet"])
def test_known_classes_keep_their_rows_and_new_ones_stay_fresh(network):
    source, model = of_classes(network, "date", "fig", "plum"), of_classes(network, "plum", "pear")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert checkpoint.adopt(model, source) == []
    heads = 0
    for name, tensor in model.state_dict().items():
        theirs = source.state_dict()[name]
        if tensor.shape == theirs.shape:
            assert torch.equal(tensor, theirs), name
            continue
        along = next(d for d in range(tensor.ndim) if 3 * tensor.shape[d] == 2 * theirs.shape[d])
        plum, pear = tensor.chunk(2, along)
        assert torch.equal(plum, theirs.chunk(3, along)[2])
        assert torch.equal(pear, before[name].chunk(2, along)[1])
        heads += 1
    assert heads == 2, "weight and bias"


@pytest.mark.parametrize("network", ["tiny", "unet", "erfnet"])
def test_classes_in_another_order_are_matched_by_name(network):
    source, model = of_classes(network, "date", "fig"), of_classes(network, "fig", "date")
    checkpoint.adopt(model, source)
    ours, theirs = outputs(model), outputs(source)
    assert theirs["seeds"].shape[1] == 2 and not torch.allclose(theirs["seeds"][:, 0], theirs["seeds"][:, 1])
    ours["seeds"] = ours["seeds"][:, [1, 0]]
    for name in ours:
        assert torch.allclose(ours[name], theirs[name], atol=1e-5, equal_nan=True), name


def test_weights_of_another_shape_stay_fresh_and_are_named():
    source, model = named(tiny(1), "object"), named(tiny(1, channels=3), "object")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fresh = checkpoint.adopt(model, source)
    assert len(fresh) == 1 and torch.equal(model.state_dict()[fresh[0]], before[fresh[0]])


def test_a_model_that_has_nothing_in_common_cannot_be_a_start():
    with pytest.raises(CallError, match="cannot start a SpatialEmbedding: no weight fits"):
        checkpoint.adopt(tiny(1), _other())


def _other() -> SpatialEmbedding:
    other = tiny(1)
    other.network = torch.nn.Linear(2, 2)
    return other


def test_what_was_left_to_follow_the_data_is_as_the_weights_learned_it():
    source, model = tiny(coordinate_step=0.25, min_size=9), tiny(min_size=5)
    checkpoint.adopt(model, source)
    assert (model.coordinate_step, model.min_size, model.initial_margin) == (0.25, 5, None)
    assert model.arguments["coordinate_step"] == 0.25


def test_a_license_goes_with_the_weights():
    source, model = tiny(), tiny()
    source.card.license = "CC BY-NC 4.0"
    checkpoint.adopt(model, source)
    assert model.card.license == "CC BY-NC 4.0"


def test_a_models_device_is_chosen_when_it_is_loaded(model_file):
    assert next(checkpoint.load(model_file, "cpu").parameters()).device == torch.device("cpu")
    assert np.isfinite(checkpoint.load(model_file).card.threshold)
