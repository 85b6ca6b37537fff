"""The data configs of super-resolution, under a runner's loaders."""

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmcompress.datasets.sr.images import write_png
from mmcompress.datasets.sr.pairs import shrink
from mmcompress.registry import METRICS

BASE = Path(__file__).parents[3] / 'configs' / '_base_' / 'datasets'
BENCHMARKS = ('Set5', 'Set14', 'B100', 'Urban100')


def _loader(config, part, root=None):
    cfg = config[f'{part}_dataloader'].copy()
    cfg.num_workers = 0
    # Serializing collects garbage, which takes half a second in a long session of tests.
    cfg.dataset.serialize_data = False
    if root:
        cfg.dataset.data_root = str(root / cfg.dataset.data_root)
    return Runner.build_dataloader(cfg, seed=0)


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_div2k(tmp_path, picture, scale):
    folders = dict(
        DIV2K=('DIV2K_train_HR_sub', f'DIV2K_train_LR_bicubic/X{scale}_sub'),
        **{f'benchmark/{name}': ('HR', f'LR_bicubic/X{scale}') for name in BENCHMARKS},
    )
    for number, (root, (gt, lq)) in enumerate(folders.items()):
        image = picture(number, height=204, width=216)
        for folder, content in ((gt, image), (lq, shrink(image, scale))):
            (tmp_path / 'data' / root / folder).mkdir(parents=True)
            write_png(tmp_path / 'data' / root / folder / 'image.png', content)
    config = Config.fromfile(BASE / f'div2k_x{scale}.py')
    train = _loader(config, 'train', tmp_path)
    assert train.batch_size == 16
    (batch,) = train
    assert batch['inputs'][0].shape == (3, 48, 48)
    assert batch['data_samples'][0].gt_img.shape == (3, 48 * scale, 48 * scale)
    (batch,) = _loader(config, 'val', tmp_path)
    assert batch['inputs'][0].shape == (3, 204 // scale, 216 // scale)
    assert 'Set5' in batch['data_samples'][0].img_path
    # As the comment of div2k_x4.py has it.
    for number, name in enumerate(BENCHMARKS, 1):
        option = {'test_dataloader.dataset.data_root': f'data/benchmark/{name}'}
        config.merge_from_dict(option)
        (batch,) = _loader(config, 'test', tmp_path)
        expected = torch.from_numpy(picture(number, height=204, width=216)).permute(2, 0, 1)
        assert torch.equal(batch['data_samples'][0].gt_img, expected.float())
    # The small images may be missing.
    shutil.rmtree(tmp_path / 'data/benchmark/Urban100/LR_bicubic')
    (again,) = _loader(config, 'test', tmp_path)
    assert torch.equal(again['inputs'][0], batch['inputs'][0])
    assert [METRICS.build(cfg).border for cfg in config.test_evaluator] == [scale, scale]


def test_photos():
    config = Config.fromfile(BASE / 'photos_x2.py')
    train = _loader(config, 'train')
    assert len(train.dataset) == 227
    batch = next(iter(train))
    assert len(batch['inputs']) == train.batch_size
    assert {tuple(image.shape) for image in batch['inputs']} == {(3, 48, 48)}
    shapes = [batch['data_samples'][0].gt_img.shape for batch in _loader(config, 'test')]
    assert shapes == [(3, 512, 512), (3, 300, 450), (3, 400, 600)]
    assert [METRICS.build(cfg).border for cfg in config.val_evaluator] == [2, 2]
