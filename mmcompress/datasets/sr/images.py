"""Image files as super-resolution needs them: three channels, 8 or 16 bits, nothing lost silently.

=================  =============================================================================
grayscale          three equal channels
bilevel, palette   the colours that they stand for
16 bits            kept; :func:`unit_range` scales them to 0..255, with fractions
alpha              dropped where everything is opaque; refused otherwise, for a transparent pixel
                   has no colour to learn
CMYK, Lab, float   refused: what they look like depends on a profile that nobody gave
several frames     refused
EXIF orientation   ignored: pixels are taken as the file stores them
=================  =============================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmcompress.core.errors import CompressionError, first_line

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
#: Of Pillow's modes: two levels, grey, a palette, colour; with alpha or without.
MODES = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA')


class BadImageError(CompressionError):
    """An image file that can't be used; the message names it."""


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder, without those of its subfolders, sorted by name.

    Raises:
        CompressionError: If it is no folder, or has no image.
    """
    if not folder.is_dir():
        raise CompressionError(f'there is no folder {str(folder)!r}; name one with images')
    files = sorted(
        path
        for path in folder.iterdir()
        # macOS leaves a hidden file beside each image that was on a foreign disk.
        if path.suffix.lower() in SUFFIXES and path.name[0] != '.' and not path.is_dir()
    )
    if not files:
        raise CompressionError(f'{str(folder)!r} has no image (any of {", ".join(SUFFIXES)})')
    return files


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width by the file's header, which takes far less time than reading the image.

    Raises:
        BadImageError: If the file can't be opened, is no image, or is refused for its kind or for
            several frames.
    """
    with _open(path) as image:
        _check_header(path, image)
        return image.height, image.width


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file.

    Args:
        path: Of the file.

    Returns:
        ``uint8[H, W, 3]`` or, of 16-bit files, ``uint16[H, W, 3]``; red, green, blue.

    Raises:
        BadImageError: If the file is damaged, or of a kind that this module's table refuses.
    """
    with _open(path) as image:
        _check_header(path, image)
        deep = _is_deep(image)
        try:
            # Also where OpenCV reads the pixels: it takes the rest of a cut file to be black.
            image.load()
            pixels = _deep_pixels(path) if deep else _pixels(image)
        except Exception as error:  # whatever a damaged file makes a decoder raise
            raise _damaged(path, error) from None
    if pixels is None:
        raise _wrong_kind(path, image)
    if pixels.shape[-1] == 4:
        opaque = np.iinfo(pixels.dtype).max
        if (pixels[..., 3] != opaque).any():
            raise BadImageError(
                f'{str(path)!r} is transparent in places; put it on a background first'
            )
    return np.ascontiguousarray(pixels[..., :3])


def unit_range(pixels: np.ndarray) -> np.ndarray:
    """Bring pixels to the range 0..255.

    Args:
        pixels: ``uint8[...]`` or ``uint16[...]``.

    Returns:
        ``uint8[...]`` as it was, or ``float32[...]``, 65535 having become 255.
    """
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32) / 257


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write ``uint8[H, W, 3]`` or ``uint16[H, W, 3]``, red, green, blue, as a PNG file."""
    # Little compression: a tenth more bytes in a third of the time.
    done, data = cv2.imencode('.png', pixels[..., ::-1], (cv2.IMWRITE_PNG_COMPRESSION, 3))
    if not done:
        raise OSError(f'{str(path)!r} could not be encoded as PNG')
    path.write_bytes(data.tobytes())


def _open(path: str | Path) -> Image.Image:
    try:
        return Image.open(path)
    except Exception as error:
        raise _damaged(path, error) from None


def _check_header(path: str | Path, image: Image.Image) -> None:
    """Refuse what no pixel has to be read for.

    Raises:
        BadImageError: If there are several frames, or the kind of image is never read.
    """
    try:
        # Some formats look for the frames only now, and fail where the file is cut.
        frames = getattr(image, 'n_frames', 1)
    except Exception as error:
        raise _damaged(path, error) from None
    if frames > 1:
        raise BadImageError(f'{str(path)!r} has {frames} frames; an image has one')
    if image.mode not in MODES and not _is_deep(image):
        raise _wrong_kind(path, image)


def _wrong_kind(path: str | Path, image: Image.Image) -> BadImageError:
    return BadImageError(
        f'{str(path)!r} is an image of kind {image.mode}; it has to be grey or RGB, of 8 or 16 bits'
    )


def _damaged(path: str | Path, error: Exception) -> BadImageError:
    if isinstance(error, FileNotFoundError):
        return BadImageError(f'there is no file {str(path)!r}')
    if isinstance(error, UnidentifiedImageError):
        return BadImageError(f'{str(path)!r} is damaged or no image: its format is unknown')
    return BadImageError(f'{str(path)!r} is damaged: {first_line(error, type(error).__name__)}')


def _is_deep(image: Any) -> bool:
    """Whether the file has 16 bits a channel, of which Pillow keeps 8 where there is colour."""
    if image.mode.startswith('I;16'):
        return True
    # What a decoder is given: the order and depth of the stored channels, such as 'RGB;16B', alone
    # or first. Other arguments are numbers, the bytes of a row (216, say) among them.
    orders = [args if isinstance(args, str) else (args or ('',))[0] for *_, args in image.tile]
    return any('16' in str(order) for order in orders)


def _deep_pixels(path: str | Path) -> np.ndarray | None:
    """16-bit pixels ``[H, W, 3 or 4]``; None where OpenCV finds others than whole numbers."""
    data = np.frombuffer(Path(path).read_bytes(), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError('it can not be decoded')
    if pixels.dtype != np.uint16:
        return None
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=-1)
    return pixels[..., [2, 1, 0, *range(3, pixels.shape[-1])]]


def _pixels(image: Image.Image) -> np.ndarray:
    """8-bit pixels ``[H, W, 3 or 4]``."""
    transparent = image.mode in ('LA', 'PA', 'RGBA') or 'transparency' in image.info
    return np.asarray(image.convert('RGBA' if transparent else 'RGB'))
