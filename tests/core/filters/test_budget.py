"""core/filters/budget.py: keep ratios for parameters of the whole model."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionError

SMALL = dict(rule='layer', min_channels=1)
BLOCK = dict(rule='block', min_channels=1)
METHODS = [
    ('FilterBasis', SMALL, {}),
    ('FilterBasis', BLOCK, {}),
    ('FilterBasis', SMALL, dict(norm_cfg=dict(type='BN'))),
    ('SharedBasis', BLOCK, {}),
    ('LinearConv', SMALL, {}),
    ('LinearConv', SMALL, dict(variant='sparse', target_sparsity=0.5)),
]


def build(classifier_cfg, method='FilterBasis', where=SMALL, args=None, **options):
    mutator = dict(parse_cfg=where, filter_unit_cfg=dict(default_args=args or {}))
    kind = f'mmcompress.{method}'
    return MODELS.build(
        dict(type=kind, architecture=classifier_cfg(), mutator_cfg=mutator, **options)
    )


def stored(algorithm):
    """Parameters that a file holds; of sparse combinations those that will be left."""
    ops = {id(p): p.numel() for u in algorithm.mutator.units.values() for op in u.ops.values()
           for p in op.weights()}  # fmt: skip
    other = sum(p.numel() for p in algorithm.parameters() if id(p) not in ops)
    return other + sum(unit.num_parameters for unit in algorithm.mutator.units.values())


@pytest.mark.parametrize(('method', 'where', 'args'), METHODS)
@pytest.mark.parametrize('share', [0.8, 0.5])
def test_the_whole_model(classifier_cfg, method, where, args, share):
    """Not above the budget, and no unit could be a size larger everywhere."""
    dense = sum(p.numel() for p in MODELS.build(classifier_cfg()).parameters())
    found = build(classifier_cfg, method, where, args, budget=dict(params=share))
    assert 0.9 * share * dense < stored(found) <= share * dense
    absolute = build(classifier_cfg, method, where, args, budget=dict(params=share * dense))
    assert absolute.mutator.choice_template == found.mutator.choice_template


def test_the_same_as_by_the_ratio(classifier_cfg):
    found = build(classifier_cfg, budget=dict(params=0.6))
    again = build(classifier_cfg, target_pruning_ratio=found.mutator.choice_template)
    assert stored(again) == stored(found)


def test_weights_and_chance_play_no_part(classifier_cfg, rng_state):
    torch.manual_seed(0)
    first = build(classifier_cfg, budget=dict(params=0.5)).mutator.choice_template
    torch.manual_seed(1)
    assert build(classifier_cfg, budget=dict(params=0.5)).mutator.choice_template == first


def test_it_is_told(classifier_cfg):
    logger, said = MMLogger.get_current_instance(), []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    try:
        found = build(classifier_cfg, budget=dict(params=0.5))
    finally:
        logger.removeHandler(handler)
    (line,) = [line for line in said if line.startswith('budget: ')]
    assert f'{stored(found):,} of ' in line


def test_units_that_an_export_would_refuse_are_made_up_for(classifier_cfg):
    """A layer whose weight is used elsewhere stays dense, and the others are smaller for it."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3)))

        def forward(self, x):
            return self.backbone(x) + self.backbone[1].weight.sum()

    mutator = dict(parse_cfg=dict(SMALL, input_shape=(1, 8, 8, 8)))
    config = dict(type='mmcompress.FilterBasis', mutator_cfg=mutator, budget=dict(params=0.7))
    found = MODELS.build(dict(config, architecture=Tied()))
    assert list(found.mutator.units) == ['backbone.0', 'backbone.2']
    assert stored(found) <= 0.7 * 3 * (576 + 8)


@pytest.mark.parametrize(
    ('budget', 'message'),
    [
        (0.5, r'budget is 0.5; it has to be a dict such as dict\(params=0.5\)'),
        (dict(macs=0.5), 'budget.macs is for methods that remove channels; .* budget of params'),
        (dict(params='half'), "budget.params is 'half'"),
        (dict(params=0), 'budget.params is 0'),
        (dict(params=True), 'budget.params is True'),
        (dict(params=9e9), 'budget.params is 9,000,000,000, more than the'),
        (dict(params=0.01), r'asks for 0.01 of the whole model; the smallest .* is 0\.\d+'),
        (dict(), 'budget.params is None'),
    ],
)
def test_mistakes(classifier_cfg, budget, message):
    with pytest.raises(CompressionError, match=message):
        build(classifier_cfg, budget=budget)


def test_nothing_to_find_a_ratio_for(classifier_cfg):
    with pytest.raises(CompressionError, match='units without a size, and there is none'):
        build(classifier_cfg, args=dict(num_filters=2), budget=dict(params=0.5))
