"""What every test may ask for: real data that may be absent, and randomness that is the same each time."""

import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from apiece.data.generated import discs
from apiece.data.label_images import write_label_images
from apiece.data.writing import entries
from apiece.methods.spatial_embedding import SpatialEmbedding
from apiece.networks.erfnet import ERFNet
from apiece.run import MODEL
from apiece.training import train

# The inputs are tiny: a second thread costs more than it gives.
torch.set_num_threads(1)

# A shell that runs tests in the background makes them, and every process they begin, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images and reference figures beside the checkout; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Each test starts from the same random numbers, whichever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def disc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six grey images of discs with their label images. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("data") / "discs"
    data = discs(6, (48, 48), seed=3, objects=(2, 4))
    write_label_images(entries(data), folder, data.classes)
    return folder


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory, disc_folder: Path) -> Path:
    """A model that has hardly learned anything, but finds some objects in whatever it is shown."""
    out = tmp_path_factory.mktemp("run")
    model = SpatialEmbedding(num_classes=1, channels=1, network="tiny", seed_threshold=0.0, foreground_threshold=0.0)
    options = {"steps": 2, "batch_size": 2, "crop": 32, "evaluations": 1, "precision": "32-true", "quiet": True}
    train(model, disc_folder, validation=0.4, out=out, **options)
    return out / MODEL


@pytest.fixture(scope="session")
def published_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the layout of github.com/davyneven/SpatialEmbeddings, with random weights."""
    path = tmp_path_factory.mktemp("published") / "best_iou_model.pth"
    state = {f"module.{name}": value.clone() for name, value in ERFNet(heads=(3, 1)).state_dict().items()}
    state["module.encoder.output_conv.weight"] = torch.zeros(4, 128, 1, 1)
    state["module.encoder.output_conv.bias"] = torch.zeros(4)
    rest = {"optim_state_dict": {"state": {}, "param_groups": [{"lr": 5e-4}]}, "logger_data": {"train": [1.0]}}
    torch.save({"epoch": 7, "best_iou": 0.5, "model_state_dict": state, **rest}, path)
    return path
