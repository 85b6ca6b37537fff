"""Super-resolution through the tools: what is exported scores as what was trained."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from mmengine.config import Config
from PIL import Image

CONFIG = 'configs/demo/filter_basis_edsr_x2_photos.py'
#: Two blocks, two batches an epoch, the smallest of the photographs to test on.
SMALL = (
    'dense.model.backbone.num_blocks=2',
    'model.architecture.backbone.num_blocks=2',
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=2',
    'train_dataloader.dataset.indices=32',
    *(f'{part}_dataloader.dataset.indices=[1]' for part in ('val', 'test')),
    'default_hooks.visuals.count=1',
)
PHOTO = (300, 450)  # the cat's height and width


@pytest.fixture(scope='module')
def run(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All stages of the demo, and beside them the baseline."""
    folder = tmp_path_factory.mktemp('photos')
    baseline = ('configs/demo/bicubic_x2_photos.py', '--chop', 100, '--self-ensemble')
    files = ('--work-dir', folder / 'bicubic', '--json', folder / 'bicubic.json')
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(
                tool.succeed, 'train', CONFIG, '--work-dir', folder, '--cfg-options', *SMALL
            ),
            # Its own three photographs, without a checkpoint.
            pool.submit(tool.succeed, 'test', *baseline, *files),
        ]
        for job in jobs:
            job.result()
    return folder


def _scores(folder: Path) -> dict:
    """What the last evaluation of a run gave."""
    (log,) = folder.glob('*/*.json')
    return json.loads(log.read_text())


def test_the_exported_network_scores_as_the_trained_one(run: Path) -> None:
    lines = next((run / 'finetune').glob('*/vis_data/scalars.json')).read_text().splitlines()
    trained = next(line for line in map(json.loads, reversed(lines)) if 'PSNR' in line)
    exported = _scores(run / 'test')
    for name in ('PSNR', 'SSIM'):
        assert exported[name] == pytest.approx(trained[name], abs=1e-4)
        assert exported[f'{name}_images'] == {'chelsea.png': exported[name]}
    assert 10 < exported['PSNR'] < 50
    assert 0 < exported['SSIM'] < 1


def test_the_baseline_needs_no_checkpoint(run: Path) -> None:
    """It is the same in tiles and in all orientations."""
    given = Config.fromfile(run / 'bicubic' / 'bicubic_x2_photos.py').model.test_cfg
    assert given == dict(chop=dict(tile=100), self_ensemble=True)
    scores = json.loads((run / 'bicubic.json').read_text())
    images = scores['PSNR_images']
    assert list(images) == ['camera.png', 'chelsea.png', 'coffee.png']
    assert scores['PSNR'] == pytest.approx(sum(images.values()) / 3)
    # As scikit-image measures it on MATLAB's interpolation, see tests/datasets and tests/engine.
    assert images['chelsea.png'] == pytest.approx(35.257, abs=1e-3)


def test_pictures_show_input_output_and_target(run: Path) -> None:
    assert len(list((run / 'bicubic').glob('*/visuals/test/*.png'))) == 3
    for stage, moment in (('dense', 'epoch_2'), ('finetune', 'epoch_2'), ('test', 'test')):
        (path,) = (run / stage).glob(f'*/visuals/{moment}/*.png')
        assert path.name == 'chelsea.png'
        with Image.open(path) as picture:
            assert picture.width > 3 * PHOTO[1]
            assert picture.height > PHOTO[0]
