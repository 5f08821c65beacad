"""The findings of a trial, in a process of its own: it loads what prediction needs, and nothing of training."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from apiece import checkpoint
from apiece.data.coco import write_coco
from apiece.data.dataset import Dataset
from apiece.data.label_images import write_label_image
from apiece.instances import Instances, concatenate
from apiece.methods.method import Method
from apiece.prediction import look, sure, told
from apiece.progress import track
from apiece.trials.timing import Stopwatch, peak_device_memory, peak_memory
from apiece.trials.trial import Trial, noting


def send_over_test(trial: Trial) -> None:
    """Find the objects of all test images, one image at a time, and note down how long each part takes."""
    noting(trial, _find)


def _find(trial: Trial) -> None:
    model, data = checkpoint.load(trial.model_file, trial.device), trial.parts.test
    watch, found = Stopwatch(trial.device), {}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "labels.tif"
        # What is loaded and chosen at the first image is no part of any image's time.
        _timed(model, data, 0, Stopwatch(trial.device), file)
        for index in track(range(len(data)), label=f"{trial.name} over the test images", quiet=trial.quiet):
            objects = _timed(model, data, index, watch, file)
            # As crops: a label map each would be kept until the end.
            found[data.names[index]] = concatenate([objects])
    memory = {"memory": peak_memory(), "device_memory": peak_device_memory()}
    write_coco(found.items(), trial.found_file, model.card.classes, threshold=model.card.threshold)
    trial.note(status="found", prediction={**watch.figures(), **memory}, date=time.strftime("%Y-%m-%d"))


def _timed(model: Method, data: Dataset, index: int, watch: Stopwatch, file: Path) -> Instances:
    """The objects of one image, all parts of the work timed."""
    watch.next_image()
    with watch.part("read"):
        image = data.image(index)
    with watch.part("network"):
        outputs, frame = look(model, image)
    with watch.part("grouping"):
        found = told(model, outputs, frame)
    with watch.part("mask"):
        label_map = sure(model, found).label_map()
    labels = Instances.from_label_map(label_map)
    with watch.part("write"):
        write_label_image(labels, file)
    return found
