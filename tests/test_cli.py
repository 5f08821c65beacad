"""The command as its user meets it: what it prints, where, and with which exit status."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import apiece
import apiece.commands
from apiece import methods
from apiece.cli import main
from apiece.options import COMMANDS

FAST = (
    "--method SpatialEmbedding --method.network tiny --batch-size 2 --crop 32 --evaluations 1 --validation 0.4 "
    "--precision 32-true --quiet"
).split()
APIECE = [sys.executable, "-m", "apiece"]


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Runs a command in an empty folder: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def refused(call):
    """Runs a command that must fail: its one sentence."""

    def run(status: int, *words) -> str:
        found, out, err = call(*words)
        assert (found, out) == (status, ""), err
        sentence = err.splitlines()[-1]
        assert sentence.startswith("apiece: ") and "Traceback" not in err and "fault in apiece" not in err
        assert not [line for line in err.splitlines()[:-1] if line.startswith(("apiece:", "usage:"))]
        return sentence

    return run


@pytest.fixture
def data(disc_folder, tmp_path) -> Path:
    """A set of label images to be spoiled."""
    return Path(shutil.copytree(disc_folder, tmp_path / "set"))


def first(folder: Path) -> Path:
    return min(folder.iterdir())


# --- help ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_in_the_users_words(call, command):
    status, out, err = call(command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: apiece {command}") and COMMANDS[command][1:] in " ".join(out.split())
    assert "<function" not in out and "<class" not in out and "{true,false}" not in out
    assert not re.search(r"--[a-z]+_", out), "options are typed with dashes"


def test_the_help_of_all_is_there_with_and_without_asking(call):
    status, out, err = call("--help")
    assert (status, err) == (0, "") and all(f"  {command}" in out for command in COMMANDS)
    assert call() == (2, out, "")
    assert call("--version") == (0, f"{__import__('apiece').__version__}\n", "")


def test_the_options_of_a_method_and_of_the_augmentation_can_be_read(call):
    assert "--augmentation.rotation" in call("train", "--help")[1]
    status, out, _ = call("train", "--method.help", "SpatialEmbedding")
    assert status == 0 and "offset" in out


# --- a whole day's work -------------------------------------------------------------------------------------------


def test_training_evaluating_predicting_and_scoring_from_the_shell(call, disc_folder, tmp_path):
    status, out, err = call("train", disc_folder, *FAST, "--steps", 2, "--out", "run", "--method.seed-threshold", 0)
    assert status == 0 and "6 images, format label-images, classes disc" in err
    said = json.loads(out)
    assert said["model"] == "run/model.safetensors" and 0 <= said["accuracy"] <= 1
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "model.safetensors",
        "state.safetensors",
        "log.jsonl",
    }

    status, out, err = call("evaluate", said["model"], disc_folder, "--json", "-", "--quiet")
    assert status == 0 and json.loads(out)["images"] == 6 and json.loads(out)["coco"]

    status, out, err = call("predict", said["model"], disc_folder / "images", "--out", "found", "--save", "labels,csv")
    assert status == 0 and json.loads(out)["images"] == 6

    status, out, err = call("score", "found", disc_folder, "--metrics", "matching,leaves", "--json", "figures.json")
    assert status == 0 and "Matching by IoU" in out
    assert json.loads((tmp_path / "figures.json").read_text())["leaves"]


def test_a_crf_is_asked_for_with_or_without_its_parameters(call, refused, disc_folder, model_file):
    """The same objects in files, in figures and from Python."""
    image = first(disc_folder / "images")
    for words, crf in ((["--crf"], True), (["--crf", "true"], True), (["--crf.steps", "1"], apiece.CRF(steps=1))):
        status, _, _ = call("predict", model_file, image, "--save", "labels", "--overwrite", "--quiet", *words)
        wanted = apiece.predict(model_file, image, crf=crf).label_map()
        assert status == 0 and np.array_equal(tifffile.imread(f"found/{image.stem}.tif"), wanted)
        _, out, _ = call("evaluate", model_file, disc_folder, "--metrics", "leaves", "--json", "-", "--quiet", *words)
        report = apiece.evaluate(model_file, disc_folder, metrics=("leaves",), crf=crf, quiet=True)
        assert json.loads(out)["leaves"]["SBD"] == pytest.approx(report["leaves"]["SBD"])
    assert "softness" in call("predict", "--crf.help")[1]
    assert "certainty is 2.0" in refused(2, "predict", model_file, image, "--crf.certainty", "2", "--quiet")
    assert "no option --crf.stepz" in refused(2, "evaluate", model_file, disc_folder, "--crf.stepz", "2")


def test_json_on_standard_output_is_one_object_and_nothing_else(call, disc_folder, model_file):
    for words in (["evaluate", model_file, disc_folder], ["score", disc_folder, disc_folder]):
        status, out, _ = call(*words, "--json", "-")
        assert status == 0 and isinstance(json.loads(out), dict)


def test_a_score_that_does_not_exist_is_null_in_json(call, data):
    for mask in (data / "masks").iterdir():
        tifffile.imwrite(mask, np.zeros((48, 48), np.uint16))
    status, out, _ = call("train", data, *FAST, "--steps", 1, "--out", "run")
    assert status == 0 and json.loads(out, parse_constant=pytest.fail)["AP"] is None


def test_options_come_from_a_file_too_and_those_of_the_call_win(call, disc_folder, tmp_path):
    (tmp_path / "options.yaml").write_text(
        "method: {class_path: SpatialEmbedding, init_args: {network: tiny}}\n"
        "steps: 3\nevaluations: 1\nvalidation: 0.4\nprecision: 32-true\nquiet: true\nout: from_file\n"
        "augmentation: {rotation: 30}\n"
        "stages:\n"
        "- {share: 0.5, crop: 32, batch_size: 2, lr: 0.001}\n"
        "- {share: 0.5, crop: 48, batch_size: 1, lr: 0.0001}\n"
    )
    status, out, err = call("train", disc_folder, "--config", "options.yaml", "--steps", 2)
    assert status == 0 and json.loads(out)["model"] == "from_file/model.safetensors", err
    model = apiece.load(tmp_path / "from_file" / "model.safetensors")
    assert model.card.training["steps"] == 2
    assert model.card.training["recipe"]["stages"][1]["crop"] == 48


def test_a_switch_needs_no_value_and_dashes_are_underscores(call, disc_folder, model_file):
    words = ["predict", model_file, "--skip-bad", disc_folder / "images", "--overwrite", "--quiet"]
    status, out, err = call(*words)
    objects = sum(int(tifffile.imread(path).max()) for path in Path("found").glob("*.tif"))
    assert (status, err) == (0, "")
    assert json.loads(out) == {"images": 6, "objects": objects, "skipped": 0, "bad": 0, "out": "found"}
    assert json.loads(call(*words[:-2], "--overwrite", "false")[1])["skipped"] == 6
    assert json.loads(call(*words[:-2], "--overwrite=true")[1])["images"] == 6


def test_methods_are_listed(call):
    status, out, _ = call("methods")
    assert status == 0 and [line.split()[0] for line in out.splitlines()] == list(methods.PLACES)


# --- calls that cannot be meant: exit status 2 --------------------------------------------------------------------

WRONG_CALLS = {
    "frobnicate": "no command 'frobnicate'",
    "train": "arguments are required: data",
    "train DATA more": "'more' is one word too many",
    "train DATA --steps 3": "give --method DCME|Discriminative|",
    "train DATA --method Nope": "--method Nope: there is none of that name; there are DCME",
    "train DATA --stps 3": "no option --stps (did you mean --steps?)",
    "train DATA --batchsize=3": "no option --batchsize (did you mean --batch-size?)",
    "train DATA --steps": "--steps: expected one argument",
    "train DATA --steps three": "--steps three: must be a whole number",
    "train DATA --lr high": "--lr high: must be a number",
    "train DATA --optimizer foo": "--optimizer foo: must be one of adamw, adam, sgd",
    "train DATA --resume=maybe": "--resume maybe: must be true or false",
    "train DATA --method SpatialEmbedding --method.network foo": "--method.network foo: must be one of unet, tiny, erf",
    "train DATA --method SpatialEmbedding --method.foo 3": "no option --method.foo",
    "train DATA --method SpatialEmbedding --steps 0": "--steps 0: must be more than 0",
    "train DATA --method SpatialEmbedding --batch-size -1": "--batch-size -1: must be more than 0",
    "train DATA --method SpatialEmbedding --validation 7": "--validation 7: must be at least 0, and below 1",
    "train DATA --method SpatialEmbedding --steps 2 --minutes 3": "--minutes and --steps",
    "train DATA --method SpatialEmbedding --augmentation.rotaton 3": "(did you mean --augmentation.rotation?)",
    "train DATA --method SpatialEmbedding --augmentation.scale [0.5]": "scale [0.5]: must be a list with 2 elements",
    "train DATA --method SpatialEmbedding --augmentation.rotation -3": "rotation is -3.0, but must be 0",
    'train DATA --method SpatialEmbedding --stages [{"share":1,"corp":3}]': "no option --stages.corp",
    'train DATA --method SpatialEmbedding --stages [{"share":0.3}] --quiet': "add up to 0.3, not 1",
    "train DATA --method SpatialEmbedding --format foo": "no format 'foo': choose label-images or coco",
    "train DATA --config nowhere.yaml": "nowhere.yaml",
    "evaluate MODEL": "arguments are required: data",
    "evaluate MODEL DATA --metrics foo": "no metric 'foo': choose from coco, matching",
    "evaluate MODEL DATA --oracle foo": "--oracle foo: must be one of centers, classes",
    "evaluate MODEL DATA --device foo": "--device foo: cannot be used here",
    "score DATA DATA --metrics foo": "no metric 'foo'",
    "score DATA DATA --threshold high": "--threshold high: must be a number",
    "predict MODEL": "arguments are required: images",
    "predict MODEL DATA/images --save foo": "cannot save 'foo': choose from labels, overlay, csv, coco, inside",
    "predict MODEL DATA/masks --out DATA/masks": "is an image itself: give another --out",
    "methods all": "'all' is one word too many",
}


@pytest.mark.parametrize("words", WRONG_CALLS)
def test_a_wrong_call_gets_one_sentence_and_status_2(refused, disc_folder, model_file, tmp_path, words):
    spelled = words.replace("DATA", str(disc_folder)).replace("MODEL", str(model_file)).split()
    before = sorted(disc_folder.rglob("*"))
    sentence = refused(2, *spelled)
    assert WRONG_CALLS[words] in sentence
    assert (sorted(disc_folder.rglob("*")), list(tmp_path.iterdir())) == (before, []), "nothing may be written"


def test_a_file_of_options_that_cannot_be_read_is_named(refused, disc_folder, tmp_path):
    (tmp_path / "half.yaml").write_text("steps: [3")
    assert "half.yaml" in refused(2, "train", disc_folder, "--config", "half.yaml")
    (tmp_path / "wrong.yaml").write_text("stepz: 3")
    assert "no option --stepz (did you mean --steps?)" in refused(2, "train", disc_folder, "--config", "wrong.yaml")


# --- jobs that fail: exit status 1 --------------------------------------------------------------------------------


def spoil_missing_mask(data: Path) -> str:
    first(data / "masks").unlink()
    return "its label image is missing"


def spoil_missing_image(data: Path) -> str:
    first(data / "images").unlink()
    return "there is no image for this label image"


def spoil_size(data: Path) -> str:
    for mask in (data / "masks").iterdir():
        tifffile.imwrite(mask, np.ones((10, 20), np.uint16))
    return "the image is 48 x 48, but its annotation is 10 x 20"


def spoil_truncated(data: Path) -> str:
    for image in (data / "images").iterdir():
        image.write_bytes(image.read_bytes()[:600])
    return "damaged or cut off"


def spoil_empty(data: Path) -> str:
    for mask in (data / "masks").iterdir():
        mask.write_bytes(b"")
    return "the file is empty"


def spoil_text(data: Path) -> str:
    for image in (data / "images").iterdir():
        image.write_text("this was an image once")
    return "this is text, not an image"


def spoil_names(data: Path) -> str:
    image = first(data / "images")
    shutil.copy(image, image.with_suffix(".tif"))
    return "have one name"


def spoil_layout(data: Path) -> str:
    (data / "masks").rename(data / "somewhere")
    return "no data set that apiece knows: looked for"


def spoil_all(data: Path) -> str:
    shutil.rmtree(data)
    data.mkdir()
    return "an empty folder"


def spoil_away(data: Path) -> str:
    shutil.rmtree(data)
    return "there is no such file or folder"


SPOILS = [value for name, value in dict(globals()).items() if name.startswith("spoil_")]


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_spoiled_data_gets_one_sentence_that_names_the_file(refused, model_file, data, spoil):
    wanted = spoil(data)
    for words in (["train", data, *FAST, "--steps", 4, "--out", "run"], ["evaluate", model_file, data, "--quiet"]):
        sentence = refused(1, *words)
        assert wanted in sentence and str(data) in sentence
    assert not Path("run/model.safetensors").exists() and not Path("run/state.safetensors").exists()


def test_failing_jobs_say_what_was_found_and_what_to_do(refused, disc_folder, model_file, tmp_path):
    images = disc_folder / "images"
    assert "nowhere: there is no such file or folder" in refused(1, "score", "nowhere", disc_folder)
    assert "nowhere: there is no such file" in refused(1, "predict", "nowhere", images)
    assert "is a folder, not a model file" in refused(1, "predict", disc_folder, images)
    (tmp_path / "empty").mkdir()
    assert "empty: no images in this folder" in refused(1, "predict", model_file, "empty")
    assert "no label images in this folder" in refused(1, "score", "empty", disc_folder)
    assert "*.foo: there is no such file" in refused(1, "predict", model_file, "*.foo")
    assert "no training to go on with" in refused(1, "train", disc_folder, *FAST, "--resume", "--out", "run")
    assert "no training to go on with" in refused(1, "train", disc_folder, *FAST, "--resume")
    assert not Path("run").exists() and not Path("runs").exists()


@pytest.mark.parametrize("lost", ["state", "groups", "options", "arguments", "card", "average/"])
def test_a_damaged_state_cannot_be_gone_on_with(refused, disc_folder, tmp_path, lost):
    words = ["train", disc_folder, *FAST, "--steps", 1, "--out", "run"]
    assert main([str(word) for word in words]) == 0
    path = tmp_path / "run" / "state.safetensors"
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if not name.startswith(lost)}  # noqa: SIM118
        facts = {name: fact for name, fact in json.loads(file.metadata()["training"]).items() if name != lost}
    save_file(tensors, path, {"training": json.dumps(facts)})
    assert "run/state.safetensors: is damaged, or of another version" in refused(1, *words, "--resume")


def test_a_place_that_cannot_be_written_is_named(refused, call, disc_folder, model_file, tmp_path):
    (tmp_path / "file").write_text("in the way")
    image = first(disc_folder / "images")
    for words in (
        ["predict", model_file, image, "--quiet", "--out", "file"],
        ["train", disc_folder, *FAST, "--steps", 1, "--out", "file"],
    ):
        assert re.search(r"file/\S+: cannot be written: file is no folder", refused(1, *words))
    status, _, err = call("evaluate", model_file, disc_folder, "--quiet", "--json", "file/x.json")
    assert status == 1 and "file/x.json: cannot be written" in err
    assert (tmp_path / "file").read_text() == "in the way"


def test_two_images_of_one_name_are_not_predicted_into_one_file(refused, disc_folder, model_file, tmp_path):
    image = first(disc_folder / "images")
    shutil.copy(image, tmp_path / "a.png")
    Image.open(image).save(tmp_path / "a.bmp")
    assert "have one name" in refused(1, "predict", model_file, "a.png", "a.bmp")


def test_a_model_of_other_channels_or_classes_is_told_apart(refused, model_file, data):
    (data / "classes.json").write_text('{"classes": ["date", "fig"], "objects": {}}')
    sentence = refused(1, "evaluate", model_file, data, "--quiet")
    assert "classes that the model does not know (date, fig): it knows disc" in sentence
    (data / "classes.json").unlink()
    for image in (data / "images").iterdir():
        Image.fromarray(np.random.randint(0, 255, (48, 48, 3), np.uint8)).save(image)
    for words in (["evaluate", model_file, data, "--quiet"], ["predict", model_file, data / "images"]):
        assert "the image has 3 channels, but the model was trained on 1" in refused(1, *words)


# --- disk full ----------------------------------------------------------------------------------------------------


@contextmanager
def full_disk(limit: int):
    """Within it no file can grow beyond some bytes: what a full disk looks like from inside."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


WRITING = {
    "predict MODEL IMAGE --save labels --out new": ("image.tif", 100),
    "predict MODEL IMAGE --save overlay --out new": ("image_overlay.png", 100),
    "predict MODEL IMAGE --save csv --out new": ("image.csv", 10),
    "predict MODEL IMAGE --save coco --out new": ("found.json", 100),
    "predict MODEL IMAGE --save inside --out new": ("image_inside_", 100),
    "evaluate MODEL DATA --json new/x.json": ("x.json", 100),
    "evaluate MODEL DATA --html new/x.html": ("x.html", 100),
    f"train DATA {' '.join(FAST)} --steps 1 --out new": ("state.safetensors", 3000),
    "import PUBLISHED --out new/x.safetensors": ("x.safetensors", 3000),
}


@pytest.mark.parametrize("words", WRITING)
def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    call, request, disc_folder, model_file, published_file, tmp_path, words
):
    shutil.copy(first(disc_folder / "images"), tmp_path / "image.png")
    places = {"DATA": disc_folder, "MODEL": model_file, "IMAGE": "image.png", "PUBLISHED": published_file}
    with full_disk(WRITING[words][1]):
        status, _, err = call(*(places.get(word, word) for word in words.split()))
    assert status == 1 and "Traceback" not in err
    assert re.search(rf"apiece: new/{re.escape(WRITING[words][0])}\S*: cannot be written: .*[Tt]oo large", err)
    left = [path.name for path in (tmp_path / "new").iterdir()]
    assert set(left) <= {"log.jsonl"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_standard_output_that_cannot_take_the_result_is_an_error():
    with open("/dev/full", "w") as full:
        run = subprocess.run([*APIECE, "methods"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (run.returncode, run.stderr) == (1, "apiece: standard output: no space left on device.\n")


def test_a_reader_that_has_seen_enough_is_no_error_to_speak_of():
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run([*APIECE, "methods"], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (run.returncode, run.stderr) == (1, "")


# --- interrupted: exit status 130 ---------------------------------------------------------------------------------


@contextmanager
def stopped_by(number: int, ready):
    """Sends this process a signal, as a terminal or a batch system does, as soon as something is ready."""

    def send() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if ready():
                return os.kill(os.getpid(), number)
            time.sleep(0.01)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        sender.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_stopped_says_how_to_go_on_and_goes_on(call, disc_folder, tmp_path, number):
    run, words = tmp_path / "run", ["train", disc_folder, *FAST, "--steps", 20, "--out", "run", "--evaluations", 10]
    with stopped_by(number, (run / "state.safetensors").exists):
        status, out, err = call(*words)
    assert (status, out) == (130, "") and "run/state.safetensors: go on with --resume" in err
    status, out, err = call(*words, "--resume")
    assert status == 0 and "resumed at step" in err and json.loads(out)["model"] == "run/model.safetensors"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_prediction_that_is_stopped_keeps_what_is_done(call, disc_folder, model_file, tmp_path, number):
    (tmp_path / "images").mkdir()
    for place in range(30):
        shutil.copy(first(disc_folder / "images"), tmp_path / "images" / f"{place:02}.png")
    words = ["predict", model_file, "images", "--save", "labels,coco", "--quiet"]
    with stopped_by(number, (tmp_path / "found" / "00.tif").exists):
        status, out, err = call(*words)
    assert (status, out) == (130, "")
    done = int(re.search(r"interrupted; (\d+) images are done in found: the same command does the rest", err)[1])
    assert 0 < done < 30 and len(json.loads((tmp_path / "found" / "found.json").read_text())["images"]) == done
    assert not [path for path in (tmp_path / "found").iterdir() if path.name.startswith(".")]
    counts = json.loads(call(*words)[1])
    assert counts["images"] + counts["skipped"] == 30 and counts["skipped"] == done


def test_the_handler_of_signals_is_given_back(call):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    call("methods")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


# --- faults, and time ---------------------------------------------------------------------------------------------


def test_debug_shows_where_an_error_comes_from(disc_folder):
    with pytest.raises(ValueError, match="nowhere"):
        main(["score", "nowhere", str(disc_folder), "--debug"])


def test_a_fault_of_ours_is_called_one(call, monkeypatch):
    monkeypatch.setitem(apiece.commands.RUN, "methods", lambda words: 1 // 0)
    status, out, err = call("methods")
    assert (status, out) == (1, "") and "ZeroDivisionError" in err and "fault in apiece; --debug" in err


def best_seconds(*words: str) -> float:
    """The shortest of three runs: others use this machine too."""
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def test_help_and_import_are_quick():
    nothing = best_seconds("-c", "pass")
    assert best_seconds("-m", "apiece", "--help") - nothing < 0.5
    assert best_seconds("-c", "import apiece") - nothing < 0.3


def test_scoring_never_loads_torch(disc_folder):
    code = (
        "import sys; from apiece.cli import main\n"
        f"status = main(['score', {str(disc_folder)!r}, {str(disc_folder)!r}, '--json', '-'])\n"
        "sys.exit(status or 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["matching"]["0.50"]["accuracy"] == 1


def test_no_public_name_is_fetched_from_a_network():
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise SystemExit('a connection was tried')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n"
        "import apiece; [getattr(apiece, name) for name in apiece.__all__]"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
