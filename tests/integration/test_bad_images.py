"""Training on a folder with bad images: it stops with the file's name, or goes on without them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image

import mmcompress  # noqa: F401  (registers)
from mmcompress.datasets.sr.images import BadImageError, write_png

GOOD = ('colour.png', 'deep.png', 'grey.png', 'odd.png', 'opaque.png')
BAD = ('bits.png', 'cut.png', 'glass.png', 'small.png', 'text.png')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image of each kind."""
    root = tmp_path_factory.mktemp('images')
    image = np.random.RandomState(0).randint(0, 256, (40, 48, 3), dtype=np.uint8)
    for name in ('colour', 'bits', 'cut'):
        write_png(root / f'{name}.png', image)
    cv2.imwrite(str(root / 'deep.png'), image.astype(np.uint16) * 257)
    Image.fromarray(image[..., 0]).save(root / 'grey.png')
    write_png(root / 'odd.png', image[:37, :41])
    Image.fromarray(image).convert('RGBA').save(root / 'opaque.png')
    Image.fromarray(image).convert('RGBA').rotate(9).save(root / 'glass.png')
    write_png(root / 'small.png', image[:20])
    (root / 'text.png').write_text('no image')
    content = bytearray((root / 'bits.png').read_bytes())
    content[2000] ^= 0xFF
    (root / 'bits.png').write_bytes(content)
    (root / 'cut.png').write_bytes((root / 'cut.png').read_bytes()[:2000])
    assert {path.name for path in root.iterdir()} == {*GOOD, *BAD}
    return root


def _runner(work_dir: Path, folder: Path, workers: int, skip_bad: bool) -> Runner:
    pipeline = [
        dict(type='mmcompress.PairedRandomCrop', patch=24),
        dict(type='mmcompress.PairedFlipRotate'),
        dict(type='mmcompress.PackSRInputs'),
    ]
    dataset = dict(type='mmcompress.SRFolders', gt_folder=str(folder), scale=2, pipeline=pipeline)
    config = dict(
        model=dict(
            type='mmcompress.SuperResolver',
            backbone=dict(type='mmcompress.EDSR', num_blocks=1, width=8, scale=2),
        ),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=2,
            num_workers=workers,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(dataset, skip_bad=skip_bad),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=1e-3)),
        default_hooks=dict(reseed=dict(type='mmcompress.ReseedHook'), checkpoint=None),
        randomness=dict(seed=0),
        default_scope='mmengine',
        experiment_name=f'{work_dir.name}_{workers}',
    )
    with DefaultScope.overwrite_default_scope('mmengine'):
        return Runner.from_cfg(Config(config))


@pytest.mark.parametrize('workers', [0, 2])
def test_training_goes_on(tmp_path: Path, folder: Path, workers: int) -> None:
    runner = _runner(tmp_path, folder, workers, skip_bad=True)
    used = []
    step = runner.model.train_step

    def train_step(data, optim_wrapper):
        used.extend(Path(sample.img_path).name for sample in data['data_samples'])
        assert {tuple(image.shape) for image in data['inputs']} == {(3, 12, 12)}
        return step(data, optim_wrapper)

    runner.model.train_step = train_step
    runner.train()
    assert runner.epoch == 3
    assert set(used) == set(GOOD)
    # Those that only decoding finds are replaced, so that an epoch has as many images as ever.
    assert len(used) == 3 * (len(GOOD) + 3)
    assert all(torch.isfinite(parameter).all() for parameter in runner.model.parameters())
    log = next(tmp_path.rglob('*.log')).read_text()
    for name in BAD:
        assert log.count(f"skip_bad: '{folder}/{name}' ") == 1
    assert log.count('skip_bad: ') == len(BAD)


def test_training_stops(tmp_path: Path, folder: Path) -> None:
    # What headers show, before training begins.
    with pytest.raises(BadImageError, match=r"small\.png' is 48x20; it has to be 24x24 or larger"):
        _runner(tmp_path, folder, 0, skip_bad=False).train()
    clean = tmp_path / 'images'
    clean.mkdir()
    for name in (*GOOD, 'cut.png'):
        (clean / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(BadImageError) as error:
        _runner(tmp_path / 'work', clean, 0, skip_bad=False).train()
    assert str(error.value).startswith(f"'{clean}/cut.png' is damaged: ")
