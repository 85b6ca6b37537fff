"""tools/make_sub_images.py: pairs stay pairs, and nothing is written by halves."""

from __future__ import annotations

import json
import shutil
import sys
import time
from concurrent.futures import as_completed
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mmcompress.core.errors import CompressionError
from mmcompress.datasets.sr import SRFolders
from mmcompress.datasets.sr.images import read_image, write_png
from mmcompress.datasets.sr.pairs import cut_to_multiple, shrink

SIZES = {'0001': (50, 61), '0002': (36, 36)}
SMALL = ('--size', 36, '--step', 12)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two images, one of them of 16 bits, and theirs for x2 and x3."""
    rng = np.random.RandomState(0)
    for name, size in SIZES.items():
        image = rng.randint(0, 256, (*size, 3), dtype=np.uint8)
        for folder, scale in dict(HR=1, X2=2, X3=3).items():
            (tmp_path / folder).mkdir(exist_ok=True)
            small = shrink(cut_to_multiple(image, scale), scale) if scale > 1 else image
            if name == '0002':
                small = small.astype(np.uint16) * 257 + 5
            suffix = f'x{scale}' if scale > 1 else ''
            write_png(tmp_path / folder / f'{name}{suffix}.png', small)
    return tmp_path


@pytest.fixture
def cut(tool: ModuleType, monkeypatch: pytest.MonkeyPatch):
    """Run the tool in this process, errors and all."""
    module = tool.module('make_sub_images')

    def run(*args: object) -> None:
        monkeypatch.setattr(sys, 'argv', ['make_sub_images', *map(str, args)])
        module.main()

    return run


def _content(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob('*')}


def test_pairs(tool: ModuleType, images: Path) -> None:
    pairs = (f'2={images}/X2', f'3={images}/X3')
    report = json.loads(
        tool.succeed(
            'make_sub_images', images / 'HR', '--lq', *pairs, *SMALL, '--threads', 2, '--json'
        )
    )
    # 48 x 60 pixels divide by 2 and 3: tops 0, 12 and lefts 0, 12, 24; and one whole image.
    names = [*(f'0001_s00{number}' for number in range(1, 7)), '0002_s001']
    assert (report['images'], report['sub_images'], report['left_out']) == (2, 7, [])
    assert report['folders'] == {
        '1': f'{images}/HR_sub',
        '2': f'{images}/X2_sub',
        '3': f'{images}/X3_sub',
    }
    assert sorted(path.name for path in images.iterdir()) == sorted(
        f'{name}{suffix}' for name in ('HR', 'X2', 'X3') for suffix in ('', '_sub')
    )
    for folder, scale in dict(HR=1, X2=2, X3=3).items():
        assert sorted(path.stem for path in (images / f'{folder}_sub').iterdir()) == names
        suffix = f'x{scale}' if scale > 1 else ''
        whole = read_image(images / folder / f'0001{suffix}.png')
        # The sixth: top 12, left 24.
        top, left, side = 12 // scale, 24 // scale, 36 // scale
        crop = read_image(images / f'{folder}_sub' / '0001_s006.png')
        assert np.array_equal(crop, whole[top : top + side, left : left + side])
        deep = read_image(images / f'{folder}_sub' / '0002_s001.png')
        assert deep.dtype == np.uint16
        assert np.array_equal(deep, read_image(images / folder / f'0002{suffix}.png'))
    # And the data set finds them as pairs.
    item = SRFolders('HR_sub', 'X3_sub', 3, data_root=str(images))[5]
    assert np.array_equal(item['lq'], read_image(images / 'X3_sub/0001_s006.png'))


def test_too_small(cut, images: Path) -> None:
    before = _content(images)
    with pytest.raises(CompressionError, match=r"HR/0002\.png' is 36x36; .* 48x48 or larger"):
        cut(images / 'HR', '--size', 48)
    assert _content(images) == before


def test_true_images_alone(cut, images: Path, capsys: pytest.CaptureFixture) -> None:
    cut(images / 'HR', *SMALL, '--suffix', '_36')
    assert '2 images cut into 13 of 36x36' in capsys.readouterr().out
    # Nothing need divide the size: the last row and column end with the image.
    last = read_image(images / 'HR_36/0001_s012.png')
    assert np.array_equal(last, read_image(images / 'HR/0001.png')[-36:, -36:])


def test_damaged_images(cut, images: Path, capsys: pytest.CaptureFixture) -> None:
    path = images / 'X2/0001x2.png'
    path.write_bytes(path.read_bytes()[:1000])
    before = _content(images)
    arguments = (images / 'HR', *SMALL, '--threads', 1, '--lq', f'2={images}/X2')
    with pytest.raises(CompressionError, match=r"X2/0001x2\.png' is damaged"):
        cut(*arguments)
    # Not even what was cut before it.
    assert _content(images) == before
    capsys.readouterr()
    cut(*arguments, '--skip-bad', '--json')
    report = json.loads(capsys.readouterr().out)
    assert (report['images'], report['left_out']) == (1, ['0001.png'])
    assert [path.name for path in (images / 'X2_sub').iterdir()] == ['0002_s001.png']
    assert [path.name for path in (images / 'HR_sub').iterdir()] == ['0002_s001.png']


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError])
def test_what_is_queued_is_cancelled(
    tool: ModuleType, images: Path, monkeypatch: pytest.MonkeyPatch, error: type
) -> None:
    module = tool.module('make_sub_images')
    for number in range(3, 30):
        shutil.copy(images / 'HR/0002.png', images / f'HR/{number:04d}.png')
    before = _content(images)
    begun = []

    def slow(files: dict[int, Path], *_: object) -> int:
        begun.append(files[1].name)
        time.sleep(0.05)
        return 1

    def interrupted(futures: dict):
        yield next(iter(as_completed(futures)))
        raise error

    monkeypatch.setattr('mmcompress.cli.data.cropping.cut', slow)
    monkeypatch.setattr('mmcompress.cli.data.cropping.as_completed', interrupted)
    arguments = (images / 'HR', *SMALL, '--threads', 1)
    monkeypatch.setattr(sys, 'argv', ['make_sub_images', *map(str, arguments)])
    with pytest.raises(error):
        module.main()
    assert len(begun) < 10
    assert _content(images) == before


def test_folders_are_made_together_or_not(
    cut, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _content(images)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if target.name == 'X3_sub':
            raise OSError('somebody has put something there')
        return rename(path, target)

    monkeypatch.setattr(Path, 'rename', fail)
    with pytest.raises(OSError, match='somebody'):
        cut(images / 'HR', *SMALL, '--lq', f'2={images}/X2', f'3={images}/X3')
    assert _content(images) == before


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--lq', '2:X2'], "--lq: '2:X2' .*SCALE=FOLDER"),
        (['--lq', '1=X2'], "--lq: '1=X2' .*SCALE=FOLDER"),
        (['--lq', '2=a', '2=b'], '--lq: scale 2 '),
        (['--lq', '2=HR'], '--lq: a folder '),
        (['--lq', '7=X2'], '--size: 480 is not a multiple of the scale 7; 483 would be'),
        (['--lq', '2=none', '--size', '36'], r"there is no folder '.*none'"),
        (['--lq', '4=X2', '--size', '36'], r"0001\.png' has no low-resolution image in '.*X2'"),
        (['--step', '0'], '--step: 0 is not'),
        (['--threads', '0'], '--threads is 0'),
        (['--suffix', ''], "--suffix is ''"),
        (['--suffix', '_old'], r"HR_old' .*--suffix"),
    ],
)
def test_wrong_arguments(cut, images: Path, arguments, message) -> None:
    (images / 'HR_old').mkdir()
    before = _content(images)
    # Folders are below the images'.
    arguments = [
        f'{text.split("=")[0]}={images / text.split("=")[1]}' if '=' in text else text
        for text in arguments
    ]
    message = message.replace("'1=X2'", f"'1={images}/X2'")
    with pytest.raises(CompressionError, match=message):
        cut(images / 'HR', *arguments)
    assert _content(images) == before


def test_two_images_of_one_name(cut, images: Path) -> None:
    (images / 'HR/0001.bmp').write_bytes((images / 'HR/0001.png').read_bytes())
    with pytest.raises(CompressionError, match="has 2 images called '0001'"):
        cut(images / 'HR', *SMALL)
