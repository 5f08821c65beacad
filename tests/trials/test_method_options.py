"""Files of options: read as YAML 1.2 has it, and checked against what they are for before anything is trained."""

import json

import pytest

from apiece.errors import CallError, InputError
from apiece.trials.method_options import MethodOptions, options_of, read_options


@pytest.fixture
def read(tmp_path):
    """Of a file with this text what the options of some methods are."""

    def options(text, *names):
        file = tmp_path / "options.yaml"
        file.write_text(text)
        return options_of(names, read_options(file))

    return options


def test_numbers_with_an_exponent_are_numbers(read):
    text = "train: {lr: 1e-3, augmentation: {scale: [5e-1, 2]}}\nDCME: {train: {stages: [{share: 1, lr: 2E+1}]}}"
    training = read(text, "DCME")["DCME"].training
    assert training["lr"] == 0.001 and training["augmentation"] == {"scale": (0.5, 2.0)}
    assert training["stages"][0]["lr"] == 20.0


def test_values_become_what_the_arguments_are(read):
    found = read("SOLO: {ranges: [[1, 2e1], [3, 4]], normalization: {mean: [1, 2]}}", "SOLO")["SOLO"].arguments
    assert found == {"ranges": ((1.0, 20.0), (3.0, 4.0)), "normalization": {"mean": (1.0, 2.0)}}
    found = options_of(["DCME"], {"train": {"lr": "1e-3", "crop": 64}, "DCME": {"train": {"crop": 32}}})
    assert found == {"DCME": MethodOptions({}, {"lr": 0.001, "crop": 32})}


def test_what_has_no_value_is_not_given_unless_that_means_something(read):
    text = "train: {lr: , accelerator: , augmentation: {gain: }}\nRecurrent: {longest: , kernel: , normalization: }"
    assert read(text, "Recurrent")["Recurrent"] == MethodOptions({"longest": None}, {})


def test_options_from_a_cell_are_those_that_were_read(read):
    found = read("train: {stages: [{crop: 64}]}\nSOLO: {ranges: [[1, 2]], min_size: 3}", "SOLO")["SOLO"]
    kept = json.loads(json.dumps(vars(found)))
    assert json.loads(json.dumps(vars(MethodOptions(**kept)))) == kept


@pytest.mark.parametrize(
    "text, said",
    [
        ("train: {lr: much}", "train: lr much: must be a number"),
        ("train: {batch_size: 2.5}", "train: batch_size 2.5: must be a whole number"),
        ("train: {precision: 32}", "train: precision 32: must be text"),
        ("train: {optimizer: sdg}", "train: optimizer sdg: must be one of adamw, adam, sgd"),
        ("train: {stages: 3}", "train: stages 3: must be a list"),
        ("train: {stages: [3]}", "train: stages: must be names with values, but is 3"),
        ("SOLO: {train: {stages: [{lr: much}]}}", "SOLO: train: stages.lr much: must be a number"),
        ("SOLO: {train: {stages: [{lrs: 1}]}}", "SOLO: train: there is no option stages.lrs"),
        ("SOLO: {train: {augmentation: 3}}", "SOLO: train: augmentation: must be names with values, but is 3"),
        (
            "train: {augmentation: {scael: 1}}",
            "there is no option augmentation.scael (did you mean augmentation.scale?)",
        ),
        ("train: {augmentation: {scale: [1]}}", "train: augmentation.scale [1]: must be a list with 2 elements"),
        ("train: {augmentation: {scale: [3, 1]}}", "train: augmentation: scale is (3.0, 1.0), but must be two"),
        ("train: {sampling: {empty: -1}}", "train: sampling: empty is -1.0, but must be a share"),
        ("train: {lr: -1}", "train: lr -1.0: must be more than 0"),
        ("train: {batch_size: 0}", "train: batch_size 0: must be more than 0"),
        ("SOLO: {train: {warmup: 1}}", "SOLO: train: warmup 1: must be at least 0, and below 1"),
        ("train: {weight_decay: -1}", "train: weight_decay -1.0: must be 0 or more"),
        ("train: {stages: [{lr: -1}]}", "train: stages: lr -1.0 of a stage: must be more than 0"),
        ("train: {stages: [{crop: .nan}]}", "train: stages.crop nan: must be a whole number"),
        ("train: {seed: 1}", "train: there is no 'seed'; there are accelerator, "),
        ("DCME: {widths: [1, a]}", "DCME: widths a: must be a whole number"),
        ("DCME: {widths: 3}", "DCME: widths 3: must be a list"),
        ("DCME: {pretrained: 1}", "DCME: pretrained 1: must be true or false"),
        ("DCME: {network: 3}", "DCME: network 3: must be one of unet, segnet, "),
        ("DCME: {normalization: x}", "DCME: normalization: must be names with values, but is 'x'"),
        ("DCME: {colour: 1}", "DCME: there is no 'colour'; there are "),
        ("DCME: 3", "DCME: must be names with values, but is 3"),
        ("HOLO: {}", "there is no method 'HOLO'; there are DCME, "),
    ],
)
def test_what_cannot_be_meant_is_said_with_the_files_name_whichever_methods_are_compared(read, tmp_path, text, said):
    with pytest.raises(CallError) as error:
        read(text)
    assert str(error.value).startswith(f"{tmp_path}/options.yaml: ") and said in str(error.value)


@pytest.mark.parametrize("text, said", [("- a", "holds no options"), ("a: [", "is no YAML"), ("SOLO:", "holds no")])
def test_a_file_without_options_says_so(read, text, said):
    with pytest.raises(InputError, match=said):
        read(text)


def test_a_comparison_trains_on_one_device():
    with pytest.raises(CallError, match="there is no 'devices'"):
        options_of(["SOLO"], {"train": {"devices": 2}})
