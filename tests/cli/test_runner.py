"""cli/runner.py: a model that is built before the runner changes nothing about the run."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import MODELS
from torch import nn

from mmcompress.cli.runner import BuiltModel, ToolRunner


@MODELS.register_module(force=True)
class HoldsTheHub(nn.Module):
    """A part of a model that looks for the run's hub as it is built."""

    def __init__(self):
        super().__init__()
        self.hub = MessageHub.get_current_instance()


@pytest.fixture
def config(tmp_path):
    """Of two epochs on random images, with dropout, in a folder of its own."""

    def make(name, seed=5, **model):
        return Config(
            dict(
                model=dict(type='mmengine.TinyNet', dropout=0.5, **model),
                work_dir=str(tmp_path / name),
                train_dataloader=dict(
                    batch_size=2,
                    dataset=dict(type='RandomImages'),
                    sampler=dict(type='DefaultSampler', shuffle=True),
                ),
                train_cfg=dict(by_epoch=True, max_epochs=2),
                optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
                default_scope='mmengine',
                randomness=dict(seed=seed),
                experiment_name=f'{tmp_path}/{name}',
            )
        )

    return make


def weights(runner):
    return {key: value.clone() for key, value in runner.model.state_dict().items()}


def test_the_run_is_that_of_a_model_that_the_runner_builds(config):
    own = ToolRunner.from_cfg(config('own'))
    first = weights(own)
    own.train()
    built = BuiltModel(config('built'))
    torch.rand(3)  # whoever looks at the model may draw numbers
    runner = built.runner()
    assert (built.model, runner.seed) == (None, 5)
    assert all(torch.equal(value, first[key]) for key, value in weights(runner).items())
    runner.train()
    for key, value in weights(own).items():
        assert torch.equal(value, runner.model.state_dict()[key]), key


def test_a_drawn_seed_is_that_of_the_run(config):
    """Hooks seed later epochs by it, and checkpoints keep it."""
    built = BuiltModel(config('drawn', seed=None))
    model, seed = built.model, built.seed
    runner = built.runner()
    assert (runner.model, runner.seed) == (model, seed)
    again = ToolRunner.from_cfg(config('again', seed=seed))
    assert all(torch.equal(value, weights(again)[key]) for key, value in weights(runner).items())
    assert runner.cfg.randomness.seed is None


def test_the_log_file_has_what_was_said_while_the_model_was_built(config, monkeypatch):
    init = MODELS.get('TinyNet').__init__

    def tells(self, *args, **kwargs):
        init(self, *args, **kwargs)
        MMLogger.get_current_instance().info('five units were found')

    monkeypatch.setattr(MODELS.get('TinyNet'), '__init__', tells)
    runner = BuiltModel(config('log')).runner()
    (log,) = Path(runner.log_dir).glob('*.log')
    assert log.read_text().count('five units were found') == 1


def test_a_model_that_holds_the_hub_is_built_again(config, monkeypatch):
    """It would listen to another hub than the one that the runner speaks to."""
    init = MODELS.get('TinyNet').__init__

    def holds(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.part = HoldsTheHub()

    monkeypatch.setattr(MODELS.get('TinyNet'), '__init__', holds)
    built = BuiltModel(config('hub'))
    model = built.model
    runner = built.runner()
    assert runner.model is not model
    assert runner.model.part.hub is runner.message_hub


def test_several_processes_build_their_own(config, monkeypatch):
    """Their seed isn't known before they know of each other."""
    cfg = config('several')
    cfg.launcher = 'pytorch'
    taken = []
    monkeypatch.setattr(ToolRunner, 'from_cfg', classmethod(lambda cls, cfg: taken.append(cfg)))
    built = BuiltModel(cfg)
    built.runner()
    assert taken == [cfg]
    assert built.model is None
