"""apiece: every object of an image apart, by whichever family of methods suits your images.

The public names are imported when they are first used: `import apiece` is quick, quiet and touches no network.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apiece.checkpoint import load as load
    from apiece.checkpoint import save as save
    from apiece.comparison import compare as compare
    from apiece.conversion import convert as convert
    from apiece.data.augment import Augmentation as Augmentation
    from apiece.data.dataset import Dataset as Dataset
    from apiece.data.formats import open_dataset as open_dataset
    from apiece.data.generated import crossing_sticks as crossing_sticks
    from apiece.data.generated import discs as discs
    from apiece.data.images import read_image as read_image
    from apiece.data.sampling import Sampling as Sampling
    from apiece.demonstration import demo as demo
    from apiece.draw import overlay as overlay
    from apiece.draw import write_overlay as write_overlay
    from apiece.errors import CallError as CallError
    from apiece.errors import InputError as InputError
    from apiece.evaluation import evaluate as evaluate
    from apiece.importation import import_checkpoint as import_checkpoint
    from apiece.inspection import check as check
    from apiece.instances import Instances as Instances
    from apiece.instances import concatenate as concatenate
    from apiece.methods.dcme import DCME as DCME
    from apiece.methods.discriminative import Discriminative as Discriminative
    from apiece.methods.mask_rcnn import MaskRCNN as MaskRCNN
    from apiece.methods.method import Method as Method
    from apiece.methods.method import Recipe as Recipe
    from apiece.methods.method import Stage as Stage
    from apiece.methods.pointrend import PointRend as PointRend
    from apiece.methods.polarmask import PolarMask as PolarMask
    from apiece.methods.recurrent import Recurrent as Recurrent
    from apiece.methods.solo import SOLO as SOLO
    from apiece.methods.spatial_embedding import SpatialEmbedding as SpatialEmbedding
    from apiece.methods.yolact import YOLACT as YOLACT
    from apiece.metrics.report import Report as Report
    from apiece.outputs import predict_files as predict_files
    from apiece.parts.crf import CRF as CRF
    from apiece.parts.normalization import Normalization as Normalization
    from apiece.prediction import predict as predict
    from apiece.recommendation import recommend as recommend
    from apiece.refinement import refined as refined
    from apiece.scoring import score as score
    from apiece.training import train as train
    from apiece.viewing import view as view

_PLACES = {
    "Augmentation": "data.augment",
    "CRF": "parts.crf",
    "CallError": "errors",
    "DCME": "methods.dcme",
    "Dataset": "data.dataset",
    "Discriminative": "methods.discriminative",
    "InputError": "errors",
    "Instances": "instances",
    "MaskRCNN": "methods.mask_rcnn",
    "Method": "methods.method",
    "Normalization": "parts.normalization",
    "PointRend": "methods.pointrend",
    "PolarMask": "methods.polarmask",
    "Recipe": "methods.method",
    "Recurrent": "methods.recurrent",
    "Report": "metrics.report",
    "SOLO": "methods.solo",
    "Sampling": "data.sampling",
    "SpatialEmbedding": "methods.spatial_embedding",
    "Stage": "methods.method",
    "YOLACT": "methods.yolact",
    "check": "inspection",
    "compare": "comparison",
    "concatenate": "instances",
    "convert": "conversion",
    "crossing_sticks": "data.generated",
    "demo": "demonstration",
    "discs": "data.generated",
    "evaluate": "evaluation",
    "import_checkpoint": "importation",
    "load": "checkpoint",
    "open_dataset": "data.formats",
    "overlay": "draw",
    "predict": "prediction",
    "predict_files": "outputs",
    "read_image": "data.images",
    "refined": "refinement",
    "recommend": "recommendation",
    "save": "checkpoint",
    "score": "scoring",
    "train": "training",
    "view": "viewing",
    "write_overlay": "draw",
}

__all__ = sorted(_PLACES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("apiece")
    if name not in _PLACES:
        raise AttributeError(f"apiece has no {name!r}")
    value = getattr(import_module(f"apiece.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
