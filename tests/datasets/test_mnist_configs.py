"""The base configs of MNIST and Fashion-MNIST, over tiny files in mmpretrain's layout."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

import mmcompress  # noqa: F401  (makes OpenMMLab importable)

pytest.importorskip('mmpretrain')

CONFIGS = Path(__file__).parents[2] / 'configs/_base_/datasets'


def _images(count: int) -> np.ndarray:
    """Dark on the left, so that a mirrored one can be told."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, :, :14] = np.arange(1, count + 1)[:, None, None]
    return images


@pytest.fixture(params=['mnist', 'fashion_mnist'])
def config(request, tmp_path):
    for part, count in (('train', 30), ('t10k', 4)):
        images, labels = _images(count), np.arange(count, dtype=np.uint8) % 10
        head = struct.pack('>4i', 0x803, *images.shape)
        (tmp_path / f'{part}-images-idx3-ubyte').write_bytes(head + images.tobytes())
        head = struct.pack('>2i', 0x801, count)
        (tmp_path / f'{part}-labels-idx1-ubyte').write_bytes(head + labels.tobytes())
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        cfg = Config.fromfile(CONFIGS / f'{request.param}_bs50.py')
        for part in ('train', 'val', 'test'):
            loader = cfg[f'{part}_dataloader']
            assert loader.dataset.data_root == f'data/{request.param}'
            assert (loader.batch_size, loader.dataset.type.lower()) == (
                50,
                request.param.replace('_', ''),
            )
            loader.dataset.data_root = str(tmp_path)
            loader.num_workers = 0
        yield cfg


def test_images_are_padded_to_32(config):
    (batch,) = Runner.build_dataloader(config.test_dataloader, seed=0)
    expected = np.pad(_images(4), ((0, 0), (2, 2), (2, 2)))[:, None]
    assert np.array_equal(torch.stack(batch['inputs']).numpy(), expected)
    assert [int(sample.gt_label) for sample in batch['data_samples']] == [0, 1, 2, 3]


def test_only_fashion_is_mirrored(config):
    np.random.seed(0)
    (batch,) = Runner.build_dataloader(config.train_dataloader, seed=0)
    assert len(batch['inputs']) == 30
    flipped = [bool(x[0, 16, 20]) for x in batch['inputs']]
    assert all(x[0, 2:30, 2:30].count_nonzero() == 28 * 14 for x in batch['inputs'])
    if config.train_dataloader.dataset.type == 'MNIST':
        assert not any(flipped)
    else:
        assert 5 < sum(flipped) < 25


def test_preprocessor_takes_one_channel(config):
    preprocessor = MODELS.build(config.data_preprocessor)
    (batch,) = Runner.build_dataloader(config.test_dataloader, seed=0)
    inputs = preprocessor(batch)['inputs']
    assert inputs.shape == (4, 1, 32, 32)
    mean, std = (
        (0.1307, 0.3015) if config.test_dataloader.dataset.type == 'MNIST' else (0.286, 0.3205)
    )
    assert inputs[0, 0, 0, 0].item() == pytest.approx(-mean / std, rel=1e-5)
