"""cli/lengths.py: stages that train longer or shorter than their configs say."""

import pytest
from mmengine.config import Config

from mmcompress.cli.lengths import lengths_of, stretch
from mmcompress.core import CompressionError


def test_schedules_follow():
    cfg = Config(
        dict(
            train_cfg=dict(by_epoch=True, max_epochs=12, val_interval=4),
            param_scheduler=[
                dict(type='LinearLR', begin=0, end=500, by_epoch=False),
                dict(type='MultiStepLR', begin=0, end=12, milestones=[8, 11], by_epoch=True),
                dict(type='CosineAnnealingLR', T_max=12),
            ],
        )
    )
    stretch(cfg, 3)
    assert cfg.train_cfg == dict(by_epoch=True, max_epochs=3, val_interval=3)
    warmup, steps, cosine = cfg.param_scheduler
    assert (warmup.begin, warmup.end) == (0, 500)
    assert (steps.begin, steps.end, steps.milestones) == (0, 3, [2, 3])
    assert cosine.T_max == 3


def test_iterations():
    cfg = Config(
        dict(
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=80, val_interval=40),
            param_scheduler=dict(type='PolyLR', begin=0, end=80, by_epoch=False),
        )
    )
    stretch(cfg, 160)
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[0].end == 160
    assert cfg.train_cfg.val_interval == 40


def test_a_warm_up_that_would_be_too_short_is_left_out():
    warmup = dict(type='LinearLR', begin=0, end=1)
    cosine = dict(type='CosineAnnealingLR', begin=1, end=15, T_max=14)
    cfg = Config(dict(train_cfg=dict(max_epochs=15), param_scheduler=[warmup, cosine]))
    stretch(cfg, 2)
    assert cfg.param_scheduler == [dict(cosine, begin=0, end=2, T_max=2)]


def test_words():
    assert lengths_of(['a=3', 'b=10'], ['a', 'b']) == dict(a=3, b=10)
    assert lengths_of(None, []) == {}
    with pytest.raises(CompressionError, match=r'--epochs.*train_cfg\.max_epochs'):
        lengths_of(['a=3'], [])
