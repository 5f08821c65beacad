"""What every test may ask for: real data that may be absent, and randomness that is the same each time."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

# The inputs are tiny: a second thread costs more than it gives.
torch.set_num_threads(1)

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
