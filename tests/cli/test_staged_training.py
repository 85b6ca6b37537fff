"""cli/staged_training.py: trainings one after another, and where they go on."""

import json
from pathlib import Path

import pytest
import torch

import mmcompress  # noqa: F401

# isort: split
from mmengine.config import Config

from mmcompress.cli import exporting, staged_training
from mmcompress.cli.staged_training import last_checkpoint_of, train_stages
from mmcompress.core import CompressionError


@pytest.fixture
def configs(tmp_path):
    return {
        name: Config(
            dict(
                model=dict(),
                train_cfg=dict(max_epochs=2),
                work_dir=str(tmp_path / name),
                load_from='dense.pth' if name == 'one' else None,
            )
        )
        for name in ('one', 'two')
    }


@pytest.fixture
def started(monkeypatch):
    """A runner that only writes checkpoints, except for ``silent`` stages; lists its ``runs``."""

    class Runner:
        runs, silent = [], set()

        def __init__(self, cfg):
            self.cfg = cfg

        @classmethod
        def from_cfg(cls, cfg):
            cls.runs.append((cfg.work_dir.split('/')[-1], cfg.resume, cfg.load_from))
            return cls(cfg)

        def test(self):
            return dict(top1=9.0)

        def train(self):
            if self.runs[-1][0] not in self.silent:
                write(self.cfg.work_dir, epoch=2)

    monkeypatch.setattr(staged_training, 'ToolRunner', Runner)
    return Runner


def write(folder, name='epoch_2.pth', time='20260101_000000', **meta):
    """A checkpoint, the last one of its folder."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    torch.save(dict(meta=dict(meta, time=time), state_dict={}), folder / name)
    (folder / 'last_checkpoint').write_text(str(folder / name))
    return str(folder / name)


def test_each_starts_from_the_one_before(configs, started, tmp_path):
    write(tmp_path / 'one', epoch=2)
    train_stages(configs)
    first = str(tmp_path / 'one' / 'epoch_2.pth')
    assert started.runs == [('one', False, 'dense.pth'), ('two', False, first)]


def test_a_dense_network_is_evaluated_in_the_end(configs, started, tmp_path):
    """As it is, there is nothing to export."""
    configs['two'].test_dataloader = dict()
    train_stages(configs, resume=True)
    last = str(tmp_path / 'two' / 'epoch_2.pth')
    assert started.runs[2:] == [('test', False, last)]
    assert json.loads((tmp_path / 'test/metrics.json').read_text()) == dict(top1=9.0)
    assert not (tmp_path / 'export').exists()


def test_resuming(configs, started, tmp_path):
    write(tmp_path / 'one', epoch=2)
    write(tmp_path / 'two', 'epoch_1.pth', epoch=1)
    train_stages(configs, resume=True)
    assert started.runs == [('two', True, None)]
    train_stages(configs, resume=True)
    assert len(started.runs) == 1


def test_resuming_where_there_is_nothing_yet(configs, started):
    train_stages(configs, resume=True)
    assert started.runs[0] == ('one', False, 'dense.pth')


def test_a_model_that_has_been_built_is_trained(configs, started):
    """What the stage before has left is still named in the config."""

    class Built:
        def runner(self):
            started.runs.append(('built', configs['two'].resume, configs['two'].load_from))
            return started(configs['two'])

    models = dict(two=Built())

    def train(self):
        write(self.cfg.work_dir, epoch=2)

    started.train = train
    train_stages(configs, models)
    last = str(Path(configs['one'].work_dir) / 'epoch_2.pth')
    assert started.runs == [('one', False, 'dense.pth'), ('built', False, last)]
    assert list(models) == ['two']


@pytest.mark.parametrize('earlier', [False, True], ids=['new', 'over an earlier training'])
def test_a_stage_that_leaves_no_checkpoint(configs, started, tmp_path, earlier):
    started.silent.add('one')
    if earlier:
        write(tmp_path / 'one', epoch=2)
    with pytest.raises(CompressionError, match=r"stage 'one' left no checkpoint in '.*/one'"):
        train_stages(configs)
    assert len(started.runs) == 1
    assert (tmp_path / 'one' / 'epoch_2.pth').exists() == earlier


@pytest.mark.parametrize(
    ('meta', 'train_cfg', 'finished'),
    [
        (dict(epoch=2, iter=8), dict(by_epoch=True, max_epochs=2), True),
        (dict(epoch=2, iter=8), dict(max_epochs=3), False),
        (dict(epoch=0, iter=8), dict(by_epoch=False, max_iters=8), True),
        (dict(epoch=0, iter=8), dict(by_epoch=False, max_iters=9), False),
        (dict(epoch=0, iter=8), dict(type='IterBasedTrainLoop', max_iters=8), True),
        (dict(epoch=9, iter=8), dict(type='IterBasedTrainLoop', max_iters=9), False),
        (dict(epoch=9, iter=8), dict(type='Other'), False),
        (dict(), dict(max_epochs=1), False),
    ],
    ids=str,
)
def test_whether_a_stage_is_over(tmp_path, meta, train_cfg, finished):
    path = write(tmp_path, **meta)
    found = last_checkpoint_of(str(tmp_path), train_cfg)
    assert (found.checkpoint, found.finished) == (path, finished)


def test_nothing_yet(tmp_path):
    assert last_checkpoint_of(str(tmp_path / 'none'), dict(max_epochs=1)) is None
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'deleted.pth'))
    assert last_checkpoint_of(str(tmp_path), dict(max_epochs=1)) is None


def test_what_was_made_from_another_checkpoint_does_not_count(tmp_path):
    """A first stage that was trained anew makes those that follow begin anew."""
    write(tmp_path, epoch=1, time='20260102_120000')
    cfg = dict(max_epochs=1)
    assert last_checkpoint_of(str(tmp_path), cfg).written == '20260102_120000'
    assert last_checkpoint_of(str(tmp_path), cfg, since='20260102_120000').finished
    assert last_checkpoint_of(str(tmp_path), cfg, since='20260102_115959').finished
    assert last_checkpoint_of(str(tmp_path), cfg, since='20260102_120001') is None


def test_an_export_waits_for_no_other_process(monkeypatch):
    """One process exports; samplers without a seed would ask the others for one."""

    def sync():
        raise AssertionError('the others are at a barrier')

    monkeypatch.setattr('mmengine.dataset.sampler.sync_random_seed', sync)
    dataset = dict(type='mmengine.RandomImages')
    sampler = dict(type='DefaultSampler', shuffle=False)
    cfg = Config(dict(val_dataloader=dict(batch_size=2, dataset=dataset, sampler=sampler)))
    assert len(list(exporting._validation_batches(cfg, 3))) == 3
