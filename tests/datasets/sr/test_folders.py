"""Folders laid out as DIV2K and the benchmarks, with images of all kinds in them."""

import shutil

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image

from mmcompress.core.errors import CompressionError
from mmcompress.datasets import SRFolders
from mmcompress.datasets.sr.images import BadImageError, read_image, write_png
from mmcompress.datasets.sr.pairs import cut_to_multiple, shrink

NAMES = dict(gt_folder='DIV2K_train_HR', lq_folder='DIV2K_train_LR_bicubic/X2', scale=2)
PATCHES = [
    dict(type='mmcompress.PairedRandomCrop', patch=16),
    dict(type='mmcompress.PairedFlipRotate'),
    dict(type='mmcompress.PackSRInputs'),
]


def test_div2k(div2k, picture):
    root = div2k(3)
    dataset = DATASETS.build(dict(type='mmcompress.SRFolders', data_root=str(root), **NAMES))
    assert len(dataset) == 3
    for number, item in enumerate(dataset, 1):
        expected = cut_to_multiple(picture(number, height=23 + number), 2)
        assert np.array_equal(item['gt'], expected)
        assert np.array_equal(item['lq'], shrink(expected, 2))
        assert item['img_path'] == str(root / f'DIV2K_train_HR/{number:04d}.png')


def test_small_images_come_from_their_files(div2k):
    root = div2k(2)
    path = root / NAMES['lq_folder'] / '0002x2.png'
    marked = 255 - read_image(path)
    write_png(path, marked)
    assert np.array_equal(SRFolders(data_root=str(root), **NAMES)[1]['lq'], marked)


def test_benchmark_with_names_as_they_are(tmp_path, picture):
    """Without x4 behind them, and of another type."""
    for folder in ('HR', 'LR_bicubic/X4'):
        (tmp_path / folder).mkdir(parents=True)
    for number, name in enumerate(('baby', 'babyx4', 'woman')):
        image = picture(number)
        Image.fromarray(image).save(tmp_path / f'HR/{name}.bmp')
        write_png(tmp_path / f'LR_bicubic/X4/{name}.png', shrink(image, 4))
    (tmp_path / 'LR_bicubic/X4/babyx4.png').rename(tmp_path / 'LR_bicubic/X4/babyx4x4.png')
    (tmp_path / 'LR_bicubic/X4/baby.png').rename(tmp_path / 'LR_bicubic/X4/babyx4.png')
    dataset = SRFolders('HR', 'LR_bicubic/X4', 4, data_root=str(tmp_path), test_mode=True)
    for number in range(3):
        assert np.array_equal(dataset[number]['lq'], shrink(picture(number), 4))


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_made_on_the_fly(tmp_path, picture, scale):
    image = picture(height=25, width=31)
    Image.fromarray(image).save(tmp_path / 'any.png')
    item = SRFolders(str(tmp_path), scale=scale)[0]
    assert item['gt'].shape == (25 // scale * scale, 31 // scale * scale, 3)
    assert item['lq'].shape == (25 // scale, 31 // scale, 3)
    assert np.array_equal(item['lq'], shrink(item['gt'], scale))


def test_made_on_the_fly_where_the_folder_is_missing(div2k, warnings):
    root = div2k(2)
    expected = SRFolders(data_root=str(root), **NAMES)[1]
    shutil.rmtree(root / NAMES['lq_folder'])
    item = SRFolders(data_root=str(root), **NAMES)[1]
    assert np.array_equal(item['lq'], expected['lq'])
    assert [text for text in warnings if "X2'; low-resolution images are made of" in text]


def test_kinds_of_images(tmp_path, picture):
    """Grey, opaque alpha and 16 bits become what a network takes."""
    image = np.minimum(picture(), 254)
    deep = image.astype(np.uint16) * 257 + 100
    Image.fromarray(image[..., 0]).save(tmp_path / 'a_grey.png')
    Image.fromarray(image).convert('RGBA').save(tmp_path / 'b_alpha.png')
    cv2.imwrite(str(tmp_path / 'c_deep.png'), deep[..., ::-1])
    grey, alpha, deep = SRFolders(
        str(tmp_path), scale=2, pipeline=[dict(type='mmcompress.PackSRInputs')]
    )
    for item in (grey, alpha, deep):
        assert item['inputs'].shape == (3, 12, 16)
        assert item['data_samples'].gt_img.shape == (3, 24, 32)
    assert grey['data_samples'].gt_img.numpy().std(axis=0).max() == 0
    exact = alpha['data_samples'].gt_img
    assert np.array_equal(exact.permute(1, 2, 0).numpy(), image)
    # A fraction of a grey level brighter, which 8 bits can't say.
    assert np.allclose(deep['data_samples'].gt_img - exact, 100 / 257, atol=1e-4)
    assert (deep['inputs'] - alpha['inputs']).abs().max() < 2


def _torn(root):
    path = root / 'DIV2K_train_HR/0002.png'
    path.write_bytes(path.read_bytes()[:600])
    return path, 'is damaged'


def _torn_partner(root):
    path = root / NAMES['lq_folder'] / '0002x2.png'
    path.write_bytes(path.read_bytes()[:200])
    return path, 'is damaged'


def _glass(root):
    path = root / 'DIV2K_train_HR/0002.png'
    Image.fromarray(read_image(path)).convert('RGBA').rotate(9).save(path)
    return path, 'is transparent in places'


def _lonely(root):
    (root / NAMES['lq_folder'] / '0002x2.png').unlink()
    return (
        root / 'DIV2K_train_HR/0002.png',
        "has no low-resolution image in .* no '0002x2' or '0002'",
    )


def _twins(root):
    path = root / NAMES['lq_folder'] / '0002x2.png'
    shutil.copy(path, path.with_suffix('.bmp'))
    return root / 'DIV2K_train_HR/0002.png', r'several low-resolution images: .*0002x2\.bmp.*png'


def _other_size(root):
    path = root / NAMES['lq_folder'] / '0002x2.png'
    write_png(path, read_image(path)[:-1])
    return path, 'is 16x11; for scale 2 .* it has to be 16x12'


def _small(root):
    path = root / 'DIV2K_train_HR/0002.png'
    write_png(path, read_image(path)[:15])
    return path, 'is 32x15; it has to be 16x16 or larger'


def _text(root):
    path = root / 'DIV2K_train_HR/0002.png'
    path.write_text('this is no image')
    return path, 'is damaged or no image'


def _film(root):
    path = root / 'DIV2K_train_HR/0002.png'
    image = Image.fromarray(read_image(path))
    image.save(path, save_all=True, append_images=[image.rotate(180)])
    return path, 'has 2 frames'


EARLY = [_film, _lonely, _twins, _other_size, _small, _text]
LATE = [_torn, _torn_partner, _glass]


@pytest.mark.parametrize('spoil', EARLY + LATE)
def test_bad_images(div2k, spoil, warnings):
    root = div2k(3)
    path, reason = spoil(root)
    # Serializing collects garbage, which takes half a second in a long session of tests.
    arguments = dict(NAMES, data_root=str(root), pipeline=PATCHES, serialize_data=False)

    def use(**more):
        dataset = SRFolders(**arguments, **more)
        return [dataset[index]['data_samples'].img_path[-8:] for index in range(len(dataset))]

    # By default it stops, with the file's name; before training where the header tells.
    with pytest.raises(BadImageError, match=rf"(?s)^'{path}' .*{reason}") as error:
        SRFolders(**arguments) if spoil in EARLY else use()
    assert '\n' not in str(error.value)
    # In a test as well.
    with pytest.raises(BadImageError, match=reason):
        use(test_mode=True)
    # Training goes on with another image, and says so.
    found = use(skip_bad=True)
    assert found == ['0001.png', *(['0003.png'] * (2 if spoil in LATE else 1))]
    (warning,) = warnings
    assert warning.startswith(f"skip_bad: '{path}' ")


def test_nothing_to_use(div2k, tmp_path):
    root = div2k(1)
    _other = SRFolders(data_root=str(root), **NAMES)
    with pytest.raises(CompressionError, match=r"there is no folder '.*/DIV2K_valid_HR'"):
        SRFolders('DIV2K_valid_HR', scale=2, data_root=str(root))
    with pytest.raises(CompressionError, match=r"X2_empty' has no image"):
        (root / 'X2_empty').mkdir()
        SRFolders('DIV2K_train_HR', 'X2_empty', scale=2, data_root=str(root))
    (root / 'DIV2K_train_HR/0001.png').write_text('no image')
    with pytest.raises(CompressionError, match='SRFolders: not one image can be used'):
        SRFolders(data_root=str(root), skip_bad=True, **NAMES)
