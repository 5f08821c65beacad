"""Published checkpoints: rebuilt by name, and nothing in them is run."""

import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import apiece
from apiece import checkpoint
from apiece.errors import InputError
from apiece.importation import import_checkpoint


def test_a_published_checkpoint_becomes_a_model(published_file, tmp_path):
    model = apiece.import_checkpoint(published_file)
    state = torch.load(published_file, weights_only=True)["model_state_dict"]
    own = model.state_dict()
    for name in ("encoder.initial_block.conv.weight", "decoders.0.output_conv.bias", "decoders.1.layers.4.bn1.weight"):
        assert torch.equal(own[f"network.{name}"], state[f"module.{name}"])
    assert (
        model.arguments["network"] == "erfnet"
        and model.arguments["legacy_coordinates"]
        and model.arguments["sigma"] == "scalar"
    )
    assert model.card.license == "CC BY-NC 4.0" and model.card.training["file"] == published_file.name
    checkpoint.save(model, tmp_path / "model.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    ours = apiece.predict(model, image, threshold=0)
    theirs = apiece.predict(tmp_path / "model.safetensors", image, threshold=0)
    assert ours.size == (40, 56) and np.array_equal(ours.dense(), theirs.dense())


def test_the_same_tensors_as_safetensors_are_taken_too(published_file, tmp_path):
    state = torch.load(published_file, weights_only=True)["model_state_dict"]
    save_file(state, tmp_path / "published.safetensors")
    own, other = (import_checkpoint(path).state_dict() for path in (published_file, tmp_path / "published.safetensors"))
    assert all(torch.equal(own[name], other[name]) for name in own)


def test_the_elliptical_variant_and_several_classes_are_recognized(published_file, tmp_path):
    state = torch.load(published_file, weights_only=True)["model_state_dict"]
    for head, count in ((0, 4), (1, 8)):
        state[f"module.decoders.{head}.output_conv.weight"] = torch.zeros(16, count, 2, 2)
        state[f"module.decoders.{head}.output_conv.bias"] = torch.zeros(count)
    torch.save(state, tmp_path / "plain.pth")
    model = import_checkpoint(tmp_path / "plain.pth")
    assert model.arguments["sigma"] == "elliptical" and model.num_classes == 8


class Trap:
    """Code that a careless reader would run."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, write):
    write({"model_state_dict": {"a": torch.zeros(1)}, "trap": Trap(tmp_path / "sprung")}, tmp_path / "evil.pth")
    with pytest.raises(
        InputError, match=r"evil\.pth: (holds \w+\.mkdir beside tensors, which could run code|is cut off)"
    ):
        import_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "sprung").exists()


def broken(state) -> dict[str, tuple[object, str]]:
    output = "module.decoders.0.output_conv.weight"
    return {
        "a missing tensor": (
            {name: value for name, value in state.items() if name != "module.decoders.0.output_conv.bias"},
            r"looks like SpatialEmbeddings .*: the weight network\.decoders\.0\.output_conv\.bias is missing",
        ),
        "another shape": ({**state, "module.encoder.layers.14.conv1x3_2.weight": torch.zeros(2)}, "do not fit"),
        "no dimensions": ({**state, output: torch.zeros(())}, "do not fit"),
        "a strange number of heads": ({**state, output: torch.zeros(16, 9, 2, 2)}, "do not fit"),
        "another layout": (
            {"backbone.weight": torch.zeros(2)},
            r"holds 1 tensors \(backbone.weight, ...\), which is none",
        ),
        "no names": ([torch.zeros(2)], "holds no weights by name"),
        "no tensors": ({"epoch": 3}, "holds no weights by name"),
        "nothing": ({}, "holds no weights by name"),
    }


@pytest.mark.parametrize("fault", broken({}))
def test_other_checkpoints_are_refused_with_what_they_hold(published_file, tmp_path, fault):
    content, wanted = broken(torch.load(published_file, weights_only=True)["model_state_dict"])[fault]
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InputError, match=wanted) as error:
        import_checkpoint(tmp_path / "other.pth")
    assert "other.pth: " in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_no_checkpoints_are_refused(published_file, model_file, tmp_path):
    for name, content in (
        ("empty.pth", b""),
        ("text.pth", b"hello"),
        ("cut.pth", published_file.read_bytes()[:50_000]),
        ("zeros.pth", bytes(500)),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: is cut off, or no file of torch"):
            import_checkpoint(tmp_path / name)
    with pytest.raises(InputError, match="there is no such file"):
        import_checkpoint(tmp_path / "nothing.pth")
    with pytest.raises(InputError, match="is a folder, not a checkpoint"):
        import_checkpoint(tmp_path)
    with pytest.raises(InputError, match="is an apiece model already"):
        import_checkpoint(model_file)
