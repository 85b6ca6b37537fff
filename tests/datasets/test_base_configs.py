"""The base configs of data, schedules and models, which demo and method configs inherit."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from mmengine.runner import Runner

import mmcompress.datasets
import mmcompress.models  # noqa: F401  (registers)

pytest.importorskip('mmpretrain')

BASE = Path(__file__).parents[2] / 'configs' / '_base_'


@pytest.fixture(autouse=True)
def _scope():
    # Restores the scope, for a runner leaves its own behind.
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def _inherit(path: Path, *names: str) -> Config:
    """A config that inherits ours and mmpretrain's runtime, as a user would write it."""
    bases = ['mmpretrain::_base_/default_runtime.py', *(str(BASE / name) for name in names)]
    path.write_text(f'_base_ = {bases}\n')
    return Config.fromfile(path)


@pytest.mark.parametrize(
    ('name', 'params'),
    [
        ('resnet20_cifar', 269722),
        ('resnet32_cifar', 464154),
        ('resnet56_cifar', 853018),
        ('resnet110_cifar', 1727962),
        ('vgg16_cifar', 14728266),
        ('googlenet_cifar', 6166250),
    ],
)
def test_models(name, params):
    model = MODELS.build(Config.fromfile(BASE / 'models' / f'{name}.py').model).eval()
    assert sum(p.numel() for p in model.parameters()) == params
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize('batch_size', [128, 256])
def test_cifar10(tmp_path, batch_size):
    name = f'datasets/cifar10_bs{batch_size}.py'
    config = _inherit(tmp_path / 'leaf.py', name, 'schedules/cifar_300e.py')
    for part in ('train', 'val', 'test'):
        loader = config[f'{part}_dataloader']
        assert loader.batch_size == batch_size
        assert loader.dataset.type == 'CIFAR10'
    assert config.train_cfg.max_epochs == 300
    assert config.param_scheduler.milestones == [150, 225]


def test_training_on_digits(tmp_path):
    config = _inherit(
        tmp_path / 'leaf.py',
        'models/resnet20_cifar.py',
        'datasets/digits_bs64.py',
        'schedules/digits_15e.py',
    )
    config.merge_from_dict(
        {
            'work_dir': str(tmp_path / 'work'),
            'experiment_name': 'digits_base_configs',
            'default_hooks.checkpoint': None,
            'train_cfg.max_epochs': 1,
            'train_dataloader.dataset.indices': 128,
            'val_dataloader.dataset.indices': 50,
            'randomness.seed': 0,
        }
    )
    runner = Runner.from_cfg(config)
    # The top-level data_preprocessor reached the model.
    assert runner.model.data_preprocessor.mean.flatten().tolist() == pytest.approx([79.711] * 3)
    runner.train()
    assert runner.iter == 2
    weight = runner.model.backbone.layer3[0].conv1.weight
    assert runner.optim_wrapper.optimizer.state[weight]['momentum_buffer'].any()
    assert 0 <= runner.message_hub.get_scalar('val/accuracy/top1').current() <= 100


def test_digits_schedule_ends_at_zero(tmp_path):
    """Warm-up and cosine join: the rate rises to lr, then falls to 0 at the last iteration."""
    config = _inherit(tmp_path / 'leaf.py', 'schedules/digits_15e.py')
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=config.optim_wrapper.optimizer.lr)
    schedulers = []
    for cfg in config.param_scheduler:
        kind = PARAM_SCHEDULERS.get(cfg.type)
        arguments = {k: v for k, v in cfg.items() if k not in ('type', 'convert_to_iter_based')}
        schedulers.append(kind.build_iter_from_epoch(optimizer, epoch_length=22, **arguments))
    rates = []
    for _ in range(330):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(0.005)
    assert max(rates) == pytest.approx(0.05, rel=0.02)
    assert rates[-1] < 1e-4
    assert rates == sorted(rates[:23]) + sorted(rates[23:], reverse=True)
