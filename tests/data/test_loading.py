"""The stream of batches depends on the seed alone: not on workers, batch size, caches or where it was resumed."""

import functools
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apiece.data.augment import Augmentation
from apiece.data.dataset import Dataset
from apiece.data.examples import ExampleMaker
from apiece.data.generated import discs
from apiece.data.loading import Batches
from apiece.errors import CallError, InputError
from apiece.instances import Instances

BROKEN = 3


def size_of(index):
    return 20 + 3 * index, 30 + index


def image_of(index):
    return np.random.default_rng(index).integers(0, 255, (*size_of(index), 2)).astype(np.uint8)


def truth_of(index):
    """Two overlapping objects and one elsewhere."""
    masks = np.zeros((3, *size_of(index)), bool)
    masks[0, 2:12, 2:12] = masks[1, 8:18, 8:18] = masks[2, 15:, 20:] = True
    return Instances.from_dense(masks, [index, 1, 2], areas=[1, 2, 3])


def image_or_error(index, error):
    if index == BROKEN:
        raise error
    return image_of(index)


def boxes_of(index):
    return Instances.from_boxes([[1, 1, 5, 5]], size_of(index))


def killed(index):
    if index == BROKEN:
        os.kill(os.getpid(), signal.SIGKILL)
    return image_of(index)


def dataset(count=10, image=image_of, truth=truth_of):
    names = tuple(f"image {index}" for index in range(count))
    files = tuple(Path(f"{name}.png") for name in names)
    return Dataset(Path("folder"), "made", ("a",), names, files, image, truth)


def prepare(image):
    return np.moveaxis(image, 2, 0).astype(np.float32) / 255


def refuse(image):
    raise InputError(f"the image has {image.shape[2]} channels.")


AUGMENTATION = Augmentation(rotation=20.0, scale=(0.8, 1.25))


def samples(number=24, batch_size=4, **options):
    """Names, valid parts of images and objects, one after the other."""
    options = {"augmentation": AUGMENTATION, "crop": 16, "seed": 5, "data": dataset(), "prepare": prepare, **options}
    batches = Batches(batch_size=batch_size, steps=number // batch_size, **options)
    return [
        (name, image[:, : truth.size[0], : truth.size[1]].numpy(), truth)
        for batch in batches
        for image, truth, name in zip(batch.images, batch.targets, batch.names, strict=True)
    ]


def same(some, others):
    return len(some) == len(others) and all(
        a[0] == b[0] and np.array_equal(a[1], b[1]) and a[2].equals(b[2]) for a, b in zip(some, others, strict=True)
    )


@pytest.fixture(scope="module")
def uninterrupted():
    return samples()


def test_another_seed_gives_other_samples(uninterrupted):
    assert same(uninterrupted, samples())
    assert not same(uninterrupted, samples(seed=6))


def test_a_resumed_run_goes_on_with_the_same_samples(uninterrupted):
    assert same(uninterrupted[7:23], samples(16, start=7))
    assert same(uninterrupted[12:], samples(12, start=12, batch_size=3))


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_worker_processes_give_the_same_samples(start_method):
    if start_method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {start_method}")
    # A spawned process finds what can be imported anywhere, but not this file.
    options = {"data": discs(10, (24, 32)), "prepare": functools.partial(np.transpose, axes=(2, 0, 1))}
    expected = samples(**options)
    assert same(expected[7:23], samples(16, start=7, workers=2, start_method=start_method, **options))
    assert not multiprocessing.active_children()


def test_the_cache_changes_nothing(uninterrupted):
    assert same(uninterrupted, samples(cache=0))
    assert same(uninterrupted, samples(cache=20_000))


def test_ranks_share_the_samples(uninterrupted):
    ranks = [samples(12, rank=rank, ranks=2) for rank in (0, 1)]
    together = [ranks[step % 2][step // 2 * 4 : step // 2 * 4 + 4] for step in range(6)]
    assert same(uninterrupted, sum(together, []))


def test_each_epoch_uses_every_image_once_in_another_order():
    names = [name for name, _, _ in samples(40)]
    epochs = [names[first : first + 10] for first in range(0, 40, 10)]
    assert all(sorted(epoch) == sorted(dataset().names) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4


def test_without_options_the_stream_is_a_plain_permutation_and_each_sample_a_function_of_seed_epoch_and_index():
    expected = []
    for number in range(24):
        epoch, place = divmod(number, 10)
        index = int(np.random.default_rng((5, epoch)).permutation(10)[place])
        generator = np.random.default_rng((5, epoch, index + 1))
        expected.append((f"image {index}", *AUGMENTATION(prepare(image_of(index)), truth_of(index), 16, generator)))
    assert same(expected, samples())


def test_scales_differ_within_a_batch_and_stay_in_their_range():
    def places(image):
        return np.moveaxis(np.stack(np.mgrid[: image.shape[0], : image.shape[1]], 2), 2, 0).astype(np.float32)

    still = Augmentation(
        flips=False, quarter_turns=False, scale=(0.5, 2.0), gain=0.0, offset=0.0, gamma=0.0, noise=0.0, centered=0.0
    )
    big = dataset(
        image=lambda index: np.zeros((120, 120, 1), np.uint8), truth=lambda index: Instances.empty((120, 120))
    )
    zooms = []
    for batch in Batches(big, places, still, crop=40, batch_size=10, steps=12):
        assert batch.images.shape == (10, 2, 40, 40)
        zooms.append([float(1 / (image[0, 1, 0] - image[0, 0, 0])) for image in batch.images])
    assert all(max(of_batch) / min(of_batch) > 1.5 for of_batch in zooms)
    together = np.log2(np.concatenate(zooms))
    assert together.min() >= -1.001 and together.max() <= 1.001
    # Log-uniform: as many are magnified as reduced.
    assert abs((together > 0).mean() - 0.5) < 0.12


def test_an_image_looks_different_in_each_epoch():
    first, second = samples(2, data=dataset(1), batch_size=1)
    assert not same([first], [second])


@settings(max_examples=25, deadline=None)
@given(stride=st.integers(1, 33), batch_size=st.integers(1, 5), crop=st.sampled_from([None, 7, 25, 100]))
def test_images_are_padded_with_zeros_to_a_multiple_of_the_stride(stride, batch_size, crop):
    options = {"prepare": lambda image: prepare(image) + 1, "crop": crop, "batch_size": batch_size, "stride": stride}
    for images, targets, names in Batches(dataset(), steps=2, **options):
        assert images.dtype == torch.float32 and len(images) == len(targets) == len(names) == batch_size
        largest = np.max([target.size for target in targets], axis=0)
        assert images.shape[2:] == tuple(-(-largest // stride) * stride)
        for image, target, name in zip(images, targets, names, strict=True):
            height, width = size_of(int(name.split()[1]))
            assert target.size == (height, width) if crop is None else (min(height, crop), min(width, crop))
            assert (image[:, : target.size[0], : target.size[1]] >= 1).all()
            assert not image[:, target.size[0] :].any() and not image[:, :, target.size[1] :].any()


def test_whole_images_come_out_as_they_are():
    for name, image, truth in samples(10, batch_size=2, augmentation=None, crop=None):
        index = int(name.split()[1])
        assert np.array_equal(image, prepare(image_of(index)))
        assert np.array_equal(truth.dense(), truth_of(index).dense())
        assert truth.labels.tolist() == [index, 1, 2]
        assert (truth.areas == truth.dense().sum((1, 2))).all()


def test_a_short_loop_can_be_left_and_begun_again():
    batches = Batches(dataset(), prepare, crop=16, workers=2, start_method="fork")
    firsts = []
    for _ in range(2):
        for batch in batches:
            firsts.append(batch)
            break
    assert torch.equal(firsts[0].images, firsts[1].images)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_workers_leave_signals_to_their_parent(stop, uninterrupted):
    stream = iter(
        Batches(dataset(), prepare, AUGMENTATION, crop=16, batch_size=4, seed=5, workers=2, start_method="fork")
    )
    next(stream)
    for child in multiprocessing.active_children():
        os.kill(child.pid, stop)
    batches = [next(stream) for _ in range(5)]
    assert batches[-1].names == [name for name, _, _ in uninterrupted[20:24]]
    stream.close()
    assert not multiprocessing.active_children()


def test_batches_can_be_pickled():
    batches = pickle.loads(pickle.dumps(Batches(dataset(), prepare, AUGMENTATION, crop=16)))
    assert next(iter(batches)).images.shape == (8, 2, 16, 16)


# --- the cache ---


def counting(index, reads):
    reads.append(index)
    return image_of(index)


def bytes_of(*indices):
    """Two channels of four bytes and two layers of two."""
    return sum(12 * height * width for height, width in map(size_of, indices))


@pytest.mark.parametrize("kept", [10, 4, 0])
def test_images_that_fit_are_read_once(kept):
    reads = []
    room = bytes_of(*range(kept)) + 100
    maker = ExampleMaker(dataset(image=functools.partial(counting, reads=reads)), prepare, AUGMENTATION, 16, 0, room)
    for epoch in range(3):
        for index in range(10):
            maker(epoch, index)
    assert reads == [*range(10), *range(kept, 10), *range(kept, 10)]
    assert list(maker.kept) == list(range(kept)) and maker.room == 100


# --- memory ---

GROWTH = """
import functools, json, multiprocessing
from pathlib import Path
import numpy as np
from apiece.data.augment import Augmentation
from apiece.data.dataset import Dataset
from apiece.data.generated import discs
from apiece.data.loading import Batches
from apiece.data.packed import Packed
from apiece.instances import Instances


def own_megabytes(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def after_steps(data, cache, *steps):
    pasting = Augmentation(rotation=180.0, scale=(0.8, 1.25), copy_paste=0.5)
    options = {"crop": 32, "batch_size": 8, "workers": 2, "cache": cache, "start_method": "fork"}
    stream, seen, sizes = iter(Batches(data, prepare, pasting, **options)), 0, []
    for number in steps:
        for _ in range(number - seen):
            next(stream)
        seen = number
        sizes.append(max(own_megabytes(child.pid) for child in multiprocessing.active_children()))
    stream.close()
    return sizes


def prepare(image):
    return np.moveaxis(image, 2, 0).astype(np.float32) / 255


def truth(annotations, index):
    return Instances.from_label_map(np.full((8, 8), 1 + (sum(annotations[index]) < 0), np.uint16))


def blank(index):
    return np.zeros((8, 8, 1), np.uint8)


packed = Packed([float(index + number) for number in range(8000)] for index in range(200))
names = tuple(map(str, range(200)))
annotated = Dataset(Path("x"), "made", ("a",), names, (None,) * 200, blank, functools.partial(truth, packed))
print(json.dumps({
    "read anew": after_steps(discs(16, (48, 48)), 0, 2, 40),
    "kept": after_steps(discs(16, (48, 48)), 1 << 30, 2, 40),
    "annotated": after_steps(annotated, 0, 1, 50),
}))
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="looks for memory in /proc")
def test_workers_do_not_grow_over_epochs_and_share_annotations_with_their_parent():
    run = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    megabytes = json.loads(run.stdout)
    # After 1 epoch and after 20.
    for kind in ("read anew", "kept"):
        first, last = megabytes[kind]
        assert last < first + 1.5, kind
    before, after = megabytes["annotated"]
    # They are 14 MB as bytes, and 50 MB as lists of numbers.
    assert after < before + 4


# --- what can go wrong ---


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_file_is_one_sentence(workers):
    broken = dataset(image=functools.partial(image_or_error, error=InputError("image 3.png: it is cut short.")))
    with pytest.raises(InputError) as caught:
        samples(40, data=broken, workers=workers, start_method="fork")
    assert str(caught.value) == "image 3.png: it is cut short."
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_preparing_names_the_file(workers):
    with pytest.raises(InputError, match=r"^image \d.png: the image has 2 channels.$"):
        list(Batches(dataset(), refuse, steps=1, workers=workers, start_method="fork"))


def test_truth_without_masks_is_refused_by_name():
    with pytest.raises(InputError, match=r"image \d.png: .* boxes only"):
        list(Batches(dataset(truth=boxes_of), prepare, steps=1))


def test_a_fault_of_the_program_keeps_its_traceback():
    broken = dataset(image=functools.partial(image_or_error, error=ZeroDivisionError("oh")))
    with pytest.raises(RuntimeError, match="(?s)in image_or_error.*ZeroDivisionError: oh"):
        samples(40, data=broken, workers=2, start_method="fork")


def test_a_killed_worker_is_told_and_does_not_hang():
    with pytest.raises(InputError, match="status -9"):
        samples(40, data=dataset(image=killed), workers=2, start_method="fork")


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"crop": 0}, {"workers": -1}, {"seed": -1}, {"start": -1}])
def test_options_that_make_no_sense_are_refused_by_name(wrong):
    with pytest.raises(CallError, match=next(iter(wrong))):
        Batches(dataset(), prepare, **wrong)


def test_an_empty_data_set_is_refused():
    with pytest.raises(InputError, match="folder"):
        Batches(dataset(0), prepare)


ORPHANS = """
import multiprocessing, os, sys, time
sys.path.insert(0, {folder!r})
import test_loading
from apiece.data.loading import Batches

# Results too large for a pipe: the workers are busy sending.
test_loading.size_of = lambda index: (400, 400)
stream = iter(Batches(test_loading.dataset(), test_loading.prepare, crop=None, workers=3, start_method="fork"))
next(stream)
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
time.sleep(60)
"""


def running(pid):
    """Is it there, and no zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_workers_end_when_their_parent_is_killed():
    code = ORPHANS.format(folder=str(Path(__file__).parent))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(children) == 3
    deadline = time.monotonic() + 10
    while any(map(running, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(running, children))
