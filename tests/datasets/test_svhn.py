"""SVHN from tiny .mat files, alone and under a runner's loader as its base config says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner
from scipy.io import savemat

from mmcompress.core.errors import CompressionError
from mmcompress.datasets import SVHN

CONFIG = Path(__file__).parents[2] / 'configs/_base_/datasets/svhn_bs50.py'
LABELS = [10, 1, 9, 5, 10, 2]


def _images(count: int, seed: int = 0) -> np.ndarray:
    """In the layout of the files: height, width, channel, image."""
    rng = np.random.RandomState(seed)
    return rng.randint(0, 256, (32, 32, 3, count), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, (split, labels) in enumerate(dict(train=LABELS, test=[3, 10], extra=[7]).items()):
        content = dict(X=_images(len(labels), seed), y=np.array(labels, np.uint8)[:, None])
        savemat(tmp_path / f'{split}_32x32.mat', content)
    return tmp_path


def test_items(folder):
    dataset = SVHN(str(folder))
    assert [dataset[i]['gt_label'] for i in range(len(dataset))] == [0, 1, 9, 5, 0, 2]
    item = dataset[2]
    assert item['img'].dtype == np.uint8
    assert np.array_equal(item['img'], _images(6)[..., 2])
    assert item['img_shape'] == item['ori_shape'] == (32, 32)
    assert type(item['gt_label']) is int
    assert dataset.get_cat_ids(2) == [9]
    assert dataset.metainfo['classes'] == tuple('0123456789')


@pytest.mark.parametrize(('split', 'labels'), [('test', [3, 0]), ('extra', [7])])
def test_splits(folder, split, labels):
    dataset = DATASETS.build(dict(type='mmcompress.SVHN', data_root=str(folder), split=split))
    assert [item['gt_label'] for item in dataset] == labels


def test_unknown_split():
    with pytest.raises(ValueError, match=r"split='val' is not.*'train', 'test', 'extra'"):
        SVHN(split='val')


def test_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(CompressionError) as error:
        SVHN(str(tmp_path), split='test')
    assert str(tmp_path / 'test_32x32.mat') in str(error.value)
    assert 'download test_32x32.mat of http://ufldl.stanford.edu/housenumbers/' in str(error.value)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (dict(X=_images(2), y=[[1], [2], [3]]), r'X is uint8 \(32, 32, 3, 2\) with 3 labels'),
        (dict(X=_images(1).astype(float), y=[[1]]), r'X is float64 .*'),
        (dict(X=_images(2), y=[[0], [9]]), r'labels are from 0 to 9'),
        (dict(X=_images(1)), r'X or y is missing'),
        (None, r'.+'),
    ],
)
def test_damaged_file(folder, content, reason):
    path = folder / 'train_32x32.mat'
    if content is None:
        path.write_bytes(path.read_bytes()[:3000])
    else:
        savemat(path, content)
    pattern = rf'(?s)train_32x32.mat.* is damaged \({reason}\); download train_32x32.mat of http'
    with pytest.raises(CompressionError, match=pattern) as error:
        SVHN(str(folder))
    assert '\n' not in str(error.value)


def test_loaders_of_the_base_config(folder):
    pytest.importorskip('mmpretrain')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        config = Config.fromfile(CONFIG)
        loaders = {}
        for part in ('train', 'test'):
            loader = config[f'{part}_dataloader']
            assert loader.batch_size == 50
            loader.dataset.data_root = str(folder)
            loader.num_workers = 0
            loaders[part] = Runner.build_dataloader(loader, seed=0)
        (batch,) = loaders['train']
        (test,) = loaders['test']
    assert sorted(int(s.gt_label) for s in batch['data_samples']) == [0, 0, 1, 2, 5, 9]
    assert all(x.shape == (3, 32, 32) and x.dtype == torch.uint8 for x in batch['inputs'])
    # Channels in the file's order: the preprocessor turns none of them round.
    expected = torch.from_numpy(_images(2, seed=1)).permute(3, 2, 0, 1)
    assert torch.equal(torch.stack(test['inputs']), expected)
    assert not config.data_preprocessor.to_rgb
    assert [step.type for step in config.train_pipeline] == ['RandomCrop', 'PackInputs']
