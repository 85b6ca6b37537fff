"""Image files of all kinds: read right, or refused with their names."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmcompress.core.errors import CompressionError
from mmcompress.datasets.sr.images import (
    BadImageError,
    image_files,
    image_size,
    read_image,
    unit_range,
    write_png,
)


@pytest.fixture
def colours(picture):
    return picture()


@pytest.fixture
def deep():
    """16 bits a channel, of which the lower 8 matter, too."""
    return np.random.RandomState(1).randint(0, 65536, (24, 32, 3)).astype(np.uint16)


@pytest.mark.parametrize('suffix', ['png', 'bmp', 'tif', 'webp'])
def test_colours(tmp_path, colours, suffix):
    path = tmp_path / f'image.{suffix}'
    Image.fromarray(colours).save(path, **(dict(lossless=True) if suffix == 'webp' else {}))
    found = read_image(path)
    assert found.dtype == np.uint8
    assert np.array_equal(found, colours)
    assert image_size(path) == (24, 32)


@pytest.mark.parametrize(('width', 'mode'), [(720, 'RGB'), (160, 'L'), (216, 'L')])
def test_bmp_of_any_width(tmp_path, width, mode):
    """A row of 720 pixels has 2160 bytes, which is no depth of 16 bits."""
    image = Image.effect_noise((width, 3), 60).convert(mode)
    image.save(tmp_path / 'image.bmp')
    found = read_image(tmp_path / 'image.bmp')
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.asarray(image.convert('RGB')))


def test_grey_images_get_three_channels(tmp_path, colours):
    grey = colours[..., 0]
    Image.fromarray(grey).save(tmp_path / 'grey.png')
    Image.fromarray(grey).convert('LA').save(tmp_path / 'alpha.png')  # opaque
    Image.fromarray(grey).convert('1').save(tmp_path / 'bits.png')
    expected = np.repeat(grey[..., None], 3, axis=-1)
    assert np.array_equal(read_image(tmp_path / 'grey.png'), expected)
    assert np.array_equal(read_image(tmp_path / 'alpha.png'), expected)
    assert np.unique(read_image(tmp_path / 'bits.png')).tolist() == [0, 255]


def test_palette_gives_its_colours(tmp_path, colours):
    indexed = Image.fromarray(colours).quantize(16)
    indexed.save(tmp_path / 'palette.png')
    assert np.array_equal(read_image(tmp_path / 'palette.png'), np.asarray(indexed.convert('RGB')))
    indexed.save(tmp_path / 'hole.png', transparency=3)
    with pytest.raises(BadImageError, match=r'hole\.png.* is transparent in places'):
        read_image(tmp_path / 'hole.png')


def test_alpha_is_dropped_where_nothing_shows_through(tmp_path, colours, deep):
    Image.fromarray(colours).convert('RGBA').save(tmp_path / 'opaque.png')
    assert np.array_equal(read_image(tmp_path / 'opaque.png'), colours)
    cv2.imwrite(
        str(tmp_path / 'deep.png'), np.dstack([deep[..., ::-1], np.full_like(deep[..., 0], 65535)])
    )
    assert np.array_equal(read_image(tmp_path / 'deep.png'), deep)


def test_one_transparent_pixel_is_refused(tmp_path, colours):
    image = np.dstack([colours, np.full(colours.shape[:2], 255, np.uint8)])
    image[5, 7, 3] = 254
    Image.fromarray(image).save(tmp_path / 'glass.png')
    with pytest.raises(BadImageError, match=r'glass\.png.* is transparent in places'):
        read_image(tmp_path / 'glass.png')


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_16_bits(tmp_path, deep, suffix):
    colour, grey = tmp_path / f'colour.{suffix}', tmp_path / f'grey.{suffix}'
    cv2.imwrite(str(colour), deep[..., ::-1])
    cv2.imwrite(str(grey), deep[..., 0])
    assert np.array_equal(read_image(colour), deep)
    assert np.array_equal(read_image(grey), np.repeat(deep[..., :1], 3, axis=-1))


def test_16_bits_as_0_to_255(deep, colours):
    scaled = unit_range(deep)
    assert scaled.dtype == np.float32
    assert np.allclose(scaled, deep / 65535 * 255, atol=1e-4)
    assert unit_range(colours) is colours


def test_written_images_are_read_as_they_were(tmp_path, colours, deep):
    for name, image in dict(a=colours, b=deep, c=colours[3:20, 5:9]).items():
        write_png(tmp_path / f'{name}.png', image)
        found = read_image(tmp_path / f'{name}.png')
        assert found.dtype == image.dtype
        assert np.array_equal(found, image)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _flip_bits(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize('damage', [_cut, _flip_bits])
@pytest.mark.parametrize('bits', [8, 16])
def test_damaged_png(tmp_path, colours, deep, damage, bits):
    path = tmp_path / 'torn.png'
    write_png(path, colours if bits == 8 else deep)
    damage(path)
    # The header is whole.
    assert image_size(path) == (24, 32)
    with pytest.raises(BadImageError, match=r"torn\.png' is damaged: .+") as error:
        read_image(path)
    assert '\n' not in str(error.value)


def test_cut_jpeg(tmp_path, colours):
    """Which OpenCV alone would read, grey from where it ends."""
    Image.fromarray(colours).save(tmp_path / 'torn.jpg')
    _cut(tmp_path / 'torn.jpg')
    with pytest.raises(BadImageError, match=r"torn\.jpg' is damaged: .*truncated"):
        read_image(tmp_path / 'torn.jpg')


def test_no_image(tmp_path):
    (tmp_path / 'empty.png').touch()
    (tmp_path / 'text.png').write_text('hello')
    for name in ('empty', 'text'):
        for read in (read_image, image_size):
            with pytest.raises(BadImageError, match=rf"{name}\.png' is damaged or no image"):
                read(tmp_path / f'{name}.png')
    with pytest.raises(BadImageError, match=r"there is no file '.*none\.png'"):
        read_image(tmp_path / 'none.png')


def test_kinds_that_are_refused(tmp_path, colours):
    image = Image.fromarray(colours)
    image.convert('CMYK').save(tmp_path / 'cmyk.jpg')
    Image.fromarray(colours[..., 0].astype(np.float32)).save(tmp_path / 'float.tif')
    image.save(tmp_path / 'film.webp', save_all=True, append_images=[image.rotate(180)])
    reasons = {'cmyk.jpg': 'kind CMYK', 'float.tif': 'kind F', 'film.webp': '2 frames'}
    for name, reason in reasons.items():
        # The header tells, before training.
        for read in (read_image, image_size):
            with pytest.raises(BadImageError, match=f'{name}.*{reason}'):
                read(tmp_path / name)


def test_orientation_is_ignored(tmp_path, colours):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(colours).save(tmp_path / 'turned.png', exif=exif)
    assert np.array_equal(read_image(tmp_path / 'turned.png'), colours)
    assert image_size(tmp_path / 'turned.png') == (24, 32)


def test_files_of_a_folder(tmp_path):
    for name in ('b.PNG', 'a.jpg', 'notes.txt', '._a.jpg', 'c.tiff'):
        (tmp_path / name).touch()
    (tmp_path / 'folder.png').mkdir()
    assert [path.name for path in image_files(tmp_path)] == ['a.jpg', 'b.PNG', 'c.tiff']
    with pytest.raises(CompressionError, match=r"folder\.png' has no image"):
        image_files(tmp_path / 'folder.png')
    with pytest.raises(CompressionError, match='there is no folder'):
        image_files(tmp_path / 'none')


def test_error_stays_one_sentence():
    """Whatever way it comes back from another process."""
    error = BadImageError("'x.png' is damaged: it broke: here")
    text = f'Caught it in DataLoader worker process 0.\nTraceback:\n  a.b.BadImageError: {error}\n'
    assert str(BadImageError(text)) == str(error) == str(pickle.loads(pickle.dumps(error)))
