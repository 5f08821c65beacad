"""Pictures of offsets: which way pixels point, and where they arrive."""

from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from apiece import draw


def pointing(
    offsets: Float[ndarray, "2 H W"], embeddings: Float[ndarray, "2 H W"], objects: Bool[ndarray, "H W"]
) -> dict[str, UInt8[ndarray, "H W 3"]]:
    """Pictures of the object pixels' offsets.

    Args:
        offsets: x and y, in any unit.
        embeddings: where each pixel arrives, x and y in pixels.
        objects: the pixels that count.

    Returns:
        "offsets": angle as color, length as brightness; "displaced": each pixel where it arrives, in its angle's color.
    """
    angles = draw.color_of_angle(offsets * objects)
    return {"offsets": angles, "displaced": draw.pile(embeddings[:, objects].T, objects.shape, angles[objects])}
