"""GeoJSON's features, one image's at a time: JSON to shapes, objects to JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float, Shaped
from numpy import ndarray

from apiece.data.coco_json import load_json
from apiece.data.outlines import Shape, keyhole, ring
from apiece.errors import InputError
from apiece.instances import Instances
from apiece.masks import Size

UNNAMED = "object"
"""The class of what says none."""
IGNORED = "Ignore*"
"""QuPath's class of what is to be left alone."""


# --- reading ------------------------------------------------------------------------------------------------------


def features(path: Path) -> list[dict[str, Any]]:
    """The features of a file: a collection, a list, or a single one.

    Raises:
        InputError: it holds something else.
    """
    content = load_json(path)
    if isinstance(content, dict):
        content = content.get("features") if content.get("type") != "Feature" else [content]
    if not isinstance(content, list):
        raise InputError(f"{path}: no GeoJSON: it should be a FeatureCollection.")
    for number, feature in enumerate(content, start=1):
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise InputError(f"{path}: feature {number} is no Feature.")
    return content


def _properties(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def class_of(feature: Mapping[str, Any]) -> str:
    """The name of its class; `object` where it says none."""
    properties = _properties(feature)
    classified = properties.get("classification")
    told = classified.get("name") if isinstance(classified, dict) else classified
    names = (told, properties.get("class"), properties.get("name"))
    return next((name for name in names if isinstance(name, str) and name), UNNAMED)


def score_of(feature: Mapping[str, Any]) -> Any:
    """The measurement `score`; older versions of QuPath list measurements."""
    measured = _properties(feature).get("measurements")
    if isinstance(measured, list):
        measured = {str(one.get("name")): one.get("value") for one in measured if isinstance(one, dict)}
    return measured.get("score") if isinstance(measured, dict) else None


def shape_of(feature: Mapping[str, Any], size: Size, labels: Mapping[str, int]) -> Shape:
    """One object.

    Raises:
        ValueError: how it is broken.
    """
    geometry, label = feature.get("geometry"), labels[class_of(feature)]
    geometry = geometry if isinstance(geometry, dict) else {}
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a geometry of type {str(kind)[:40]} outlines no object: it must be Polygon or MultiPolygon")
    polygons = coordinates if kind == "MultiPolygon" else [coordinates]
    if not isinstance(polygons, list) or not polygons:
        raise ValueError("it has no coordinates")
    metadata = _properties(feature).get("metadata")
    ignored = isinstance(metadata, dict) and str(metadata.get("ignore", "")).lower() == "true"
    rings = [_polygon(polygon, size) for polygon in polygons]
    return Shape(label, rings, ignore=label < 0 or ignored, score=score_of(feature))


def _polygon(polygon: Any, size: Size) -> Float[ndarray, "_ 2"]:
    """A polygon with its holes as one ring."""
    if not isinstance(polygon, list) or not polygon:
        raise ValueError("a polygon has no rings")
    closed = [points[:-1] if isinstance(points, list) and points[:1] == points[-1:] else points for points in polygon]
    return keyhole([ring(points, size) for points in closed])


# --- writing ------------------------------------------------------------------------------------------------------


def features_of(truth: Instances, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Objects as features: Polygons, or MultiPolygons of those in several parts."""
    for index, parts in enumerate(truth.polygons()):
        label = int(truth.labels[index])
        name = classes[label] if label >= 0 else IGNORED
        properties: dict[str, Any] = {"objectType": "annotation", "classification": {"name": name}}
        if truth.ignore[index] and label >= 0:
            properties["metadata"] = {"ignore": "true"}
        if truth.scores is not None:
            properties["measurements"] = {"score": float(truth.scores[index])}
        polygons = [[_closed(points) for points in rings] for rings in parts]
        several = len(polygons) > 1
        kind, coordinates = ("MultiPolygon", polygons) if several else ("Polygon", polygons[0])
        yield {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def _closed(points: Shaped[ndarray, "_ 2"]) -> list[list[int]]:
    return [*points.tolist(), points[0].tolist()]
