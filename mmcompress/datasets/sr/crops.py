"""Where images are cut into crops of one size."""

from __future__ import annotations

from mmcompress.core.errors import CompressionError


def corners(height: int, width: int, size: int, step: int) -> list[tuple[int, int]]:
    """Top left corners of the square crops that cover an image.

    Crops begin every ``step`` pixels; where the last doesn't reach the image's edge, one more does.

    Args:
        height: Of the image, ``size`` or more.
        width: Likewise.
        size: Side of the crops.
        step: From one to the next.

    Returns:
        ``(top, left)`` of each, row by row.
    """
    return [
        (top, left) for top in _starts(height, size, step) for left in _starts(width, size, step)
    ]


def _starts(length: int, size: int, step: int) -> list[int]:
    starts = list(range(0, length - size + 1, step))
    if starts[-1] + size < length:
        starts.append(length - size)
    return starts


def crop_name(stem: str, number: int) -> str:
    """What the ``number``-th crop of an image is called: ``0001_s001.png`` is the first."""
    return f'{stem}_s{number:03d}.png'


def check_multiple(name: str, pixels: int, scale: int) -> None:
    """Make sure that a length in the large image is a whole one in the small image.

    Args:
        name: Of the setting, for the error.
        pixels: Its value.
        scale: Pixels of the large image for one of the small image.

    Raises:
        CompressionError: If it isn't positive or no multiple of ``scale``.
    """
    if not isinstance(pixels, int) or pixels < 1 or pixels % scale:
        near = max(1, round(pixels / scale)) * scale if isinstance(pixels, int) else 48 * scale
        raise CompressionError(
            f'{name}: {pixels!r} is not a multiple of the scale {scale}; {near} would be'
        )
