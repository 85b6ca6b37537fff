"""cli/smoke.py: short versions of recipes, and what whole ones take."""

import json

import pytest

import mmcompress  # noqa: F401

# isort: split
from mmengine.config import Config

from mmcompress.cli.smoke import DENSE, estimate, make_smoke, smoke_steps, steps_of
from mmcompress.core import CompressionError


def recipe(train_cfg, model=None, kind='CIFAR10', root='data/cifar10', **changes):
    dataset = dict(type=kind, data_root=root, split='train', pipeline=[dict(type='PackInputs')])
    loader = dict(batch_size=32, num_workers=5, persistent_workers=True, dataset=dataset)
    content = dict(
        model=model or dict(type='Classifier'),
        train_dataloader=loader,
        val_dataloader=loader,
        test_dataloader=loader,
        val_evaluator=dict(),
        val_cfg=dict(),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=10, save_best='x')),
        auto_scale_lr=dict(base_batch_size=128),
    )
    return Config({**content, **changes})


@pytest.mark.parametrize(
    ('cfg', 'steps', 'smoke'),
    [
        # 391 batches of 128 are an epoch of 50,000 images.
        (recipe(dict(max_epochs=3)), 3 * 391, 4),
        (recipe(dict(max_epochs=1), auto_scale_lr=dict(base_batch_size=256)), 196, 1),
        (recipe(dict(max_iters=240), auto_scale_lr=None), 240, 2),
        (
            recipe(dict(max_iters=240), kind='SRFolders', root='/d/DIV2K/'),
            240,
            2,
        ),
        (recipe(dict(max_iters=9000), kind='CityscapesDataset', root='/d/cityscapes/'), 9000, 1),
        (recipe(dict(max_iters=20)), 20, 1),
    ],
)
def test_steps(cfg, steps, smoke):
    """A hundredth, at least one, at most four, of large images one."""
    assert (steps_of(cfg), smoke_steps(cfg)) == (steps, smoke)


def test_a_short_recipe():
    (cfg,) = make_smoke({'train': recipe(dict(max_epochs=300, val_interval=5))}).values()
    assert cfg.train_cfg == dict(max_epochs=2, val_interval=2, val_begin=1)
    train = cfg.train_dataloader
    # Two epochs of two batches.
    assert (train.batch_size, train.dataset.indices, train.num_workers) == (16, 32, 0)
    assert train.dataset.type == 'mmcompress.DigitsClassification'
    assert train.dataset.pipeline == [dict(type='PackInputs')]
    assert cfg.default_hooks.checkpoint.interval == 2
    assert cfg.default_hooks.checkpoint.save_best == 'x'
    assert dict(type='mmcompress.CostHook') in cfg.custom_hooks


def test_a_short_recipe_that_counts_iterations():
    cfg = recipe(dict(max_iters=90000, val_interval=1), kind='ImageNet', root='d/imagenet')
    (cfg,) = make_smoke({'train': cfg}).values()
    assert cfg.train_cfg == dict(max_iters=2, val_interval=2, val_begin=1)
    assert cfg.train_dataloader.dataset.type == 'ImageNet'
    assert cfg.train_dataloader.dataset.indices == 4


@pytest.mark.parametrize('where', ['load_from', 'init_cfg', 'pretrained'])
def test_published_weights_become_a_step_of_dense_training(where):
    """Nothing is downloaded."""
    backbone = dict(type='ResNet')
    model = dict(
        type='Method',
        architecture=dict(type='Classifier', backbone=backbone, head=dict(num_classes=10)),
        head=dict(num_classes=5),  # what a child config changes
    )
    changes = {}
    if where == 'load_from':
        changes = dict(load_from='https://x/y.pth')
    elif where == 'init_cfg':
        backbone['init_cfg'] = dict(type='Pretrained', checkpoint='torchvision://resnet50')
    else:
        model['architecture']['pretrained'] = 'torchvision://resnet50'
    short = make_smoke({'train': recipe(dict(max_epochs=300), model, **changes)})
    assert list(short) == [DENSE, 'train']
    dense, train = short.values()
    assert (dense.model.type, train.model.type) == ('Classifier', 'Method')
    assert dense.model.head.num_classes == 5
    assert dense.train_cfg.max_epochs == 1
    assert dense.train_dataloader.dataset.indices == 16
    assert dense.val_dataloader is None
    assert 'save_best' not in dense.default_hooks.checkpoint
    for cfg in short.values():
        assert cfg.load_from is None
        assert '://' not in cfg.pretty_text


def test_a_recipe_from_scratch_has_no_dense_stage():
    model = dict(type='Method', architecture=dict(type='Classifier'))
    assert list(make_smoke({'train': recipe(dict(max_epochs=300), model)})) == ['train']


def test_data_that_have_no_lookalike():
    with pytest.raises(CompressionError, match=r"--smoke: .*'voc'.*cifar10"):
        make_smoke({'train': recipe(dict(max_epochs=3), kind='VOC', root='data/voc')})


def test_an_estimate(tmp_path):
    """Time and what a backward pass needs grow with images; weights and gradients don't."""
    (tmp_path / 'train').mkdir()
    cost = dict(seconds=[9.0, 0.16, 0.32], weights=50, saved=160, peak=1000)
    (tmp_path / 'train/cost.json').write_text(json.dumps(cost))
    found = estimate({'train': recipe(dict(max_epochs=300))}, tmp_path)
    (stage,) = found['stages']
    # 0.16 s for 16 images; 391 batches of 128 an epoch.
    assert stage['seconds_per_image'] == pytest.approx(0.01)
    assert found['hours'] == pytest.approx(300 * 391 * 128 * 0.01 / 3600)
    # Weights and gradients; 160 of 16 images.
    assert found['memory'] == 2 * 50 + 128 * 10
    assert found['peak'] == 1000


@pytest.mark.parametrize(
    ('optimizer', 'states'), [(dict(type='Adam'), 2), (dict(type='SGD', momentum=0.9), 1)]
)
def test_states_of_the_optimizer_need_memory(tmp_path, optimizer, states):
    (tmp_path / 'train').mkdir()
    cost = dict(seconds=[1.0], weights=50, saved=0, peak=None)
    (tmp_path / 'train/cost.json').write_text(json.dumps(cost))
    cfg = recipe(dict(max_epochs=1), optim_wrapper=dict(optimizer=dict(optimizer, lr=0.1)))
    found = estimate({'train': cfg}, tmp_path)
    assert (found['memory'], found['peak']) == ((2 + states) * 50, None)
