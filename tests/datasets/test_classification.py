"""DigitsClassification, alone and under a runner's loader with mmpretrain's transforms."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmcompress.datasets import DigitsClassification
from mmcompress.datasets.digits import draw, load_glyphs

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_'


@pytest.fixture
def config() -> Config:
    """The base config of the data set, in the scope in which it is used."""
    pytest.importorskip('mmpretrain')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield Config.fromfile(CONFIGS / 'datasets' / 'digits_bs64.py')


@pytest.mark.parametrize('serialize_data', [True, False])
@pytest.mark.parametrize(('split', 'length'), [('train', 1397), ('test', 400)])
def test_items(split, length, serialize_data):
    dataset = DigitsClassification(split, serialize_data=serialize_data)
    assert len(dataset) == length
    glyphs, labels = load_glyphs(split)
    images = draw(glyphs, 32)
    for index in (0, 7, length - 1):
        item = dataset[index]
        assert item['img'].shape == (32, 32, 3)
        assert item['img'].dtype == np.uint8
        assert item['img_shape'] == item['ori_shape'] == (32, 32)
        assert (item['img'] == images[index][..., None]).all()
        assert item['gt_label'] == labels[index]
        assert type(item['gt_label']) is int
        assert item['sample_idx'] == index


def test_an_item_can_be_written_to_without_harm():
    dataset = DigitsClassification('test', serialize_data=False)
    dataset[0]['img'][:] = 7
    assert (dataset[0]['img'] != 7).any()


def test_metainfo():
    metainfo = DigitsClassification('test', lazy_init=True).metainfo
    assert metainfo['classes'] == tuple('0123456789')
    assert metainfo['dataset_type'] == 'digits'


def test_lazy_init_loads_on_demand():
    dataset = DigitsClassification('test', lazy_init=True)
    assert not dataset._fully_initialized
    dataset.full_init()
    assert len(dataset) == 400


@pytest.mark.parametrize(('indices', 'expected'), [(3, [0, 1, 2]), ([5, 2], [5, 2])])
def test_indices_select_a_subset(indices, expected):
    subset = DigitsClassification('train', indices=indices)
    whole = DigitsClassification('train')
    assert len(subset) == len(expected)
    for position, index in enumerate(expected):
        assert (subset[position]['img'] == whole[index]['img']).all()


def test_other_sizes():
    assert DigitsClassification('test', img_size=48, indices=1)[0]['img'].shape == (48, 48, 3)


def test_more_classes():
    """Digits of one kind take turns between labels with the same last figure."""
    dataset = DigitsClassification('test', num_classes=100)
    labels = [dataset.get_data_info(index)['gt_label'] for index in range(len(dataset))]
    assert (np.array(labels) % 10 == load_glyphs('test')[1]).all()
    assert len({label for label in labels if label % 10 == 3}) > 5
    assert max(labels) < 100
    with pytest.raises(ValueError, match='num_classes is 15'):
        DigitsClassification(num_classes=15)


def test_categories():
    dataset = DigitsClassification('test')
    assert dataset.get_cat_ids(4) == [dataset[4]['gt_label']]


@pytest.mark.parametrize('lazy_init', [True, False])
def test_unknown_split(lazy_init):
    with pytest.raises(ValueError, match=r"split='val' is not.*'train', 'test'"):
        DigitsClassification('val', lazy_init=lazy_init)


def test_config_states_the_measured_mean_and_std(config):
    images = draw(load_glyphs('train')[0], 32)
    assert config.data_preprocessor.mean == pytest.approx([images.mean()] * 3, abs=1e-3)
    assert config.data_preprocessor.std == pytest.approx([images.std()] * 3, abs=1e-3)


def test_training_loader(config):
    def epoch() -> list[dict]:
        np.random.seed(3)
        return list(Runner.build_dataloader(config.train_dataloader, seed=3))

    batches, again = epoch(), epoch()
    assert [len(batch['inputs']) for batch in batches] == [64] * 21 + [1397 - 21 * 64]
    first = batches[0]
    assert all(x.shape == (3, 32, 32) and x.dtype == torch.uint8 for x in first['inputs'])
    labels = [int(sample.gt_label) for batch in batches for sample in batch['data_samples']]
    assert np.bincount(labels).tolist() == np.bincount(load_glyphs('train')[1]).tolist()
    # Cropped at random, yet the same for the same seed.
    pairs = zip(first['inputs'], again[0]['inputs'], strict=True)
    assert all(torch.equal(x, y) for x, y in pairs)
    plain = DigitsClassification('train')
    moved = [
        not np.array_equal(x.permute(1, 2, 0), plain[sample.sample_idx]['img'])
        for x, sample in zip(first['inputs'], first['data_samples'], strict=True)
    ]
    assert sum(moved) > 32


def test_test_loader_is_in_order_and_untouched(config):
    loader = Runner.build_dataloader(config.test_dataloader, seed=0)
    inputs = torch.stack([x for batch in loader for x in batch['inputs']])
    expected = torch.from_numpy(draw(load_glyphs('test')[0], 32))
    assert torch.equal(inputs, expected.unsqueeze(1).expand(-1, 3, -1, -1))
