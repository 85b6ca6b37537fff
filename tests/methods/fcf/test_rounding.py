"""``rounding='threshold'``: all filters whose scalar is above 0.1 stay, however many they are."""

import pytest
import torch
from mmengine.registry import MODELS

from mmcompress.core import CompressionError
from mmcompress.core.export.static import to_static


def fcf(architecture, stage='finetune', rounding='threshold', **kwargs):
    return MODELS.build(
        dict(
            type='mmcompress.FCF',
            architecture=architecture,
            mutator_cfg=dict(type='FCFMutator', **kwargs),
            target_pruning_ratio=0.5,
            stage=stage,
            rounding=rounding,
        )
    ).double()


def drawn(algorithm):
    """Scalars as after stage 1 that was too short; of one layer all are below the threshold."""
    for unit in algorithm.mutator.units.values():
        torch.nn.init.uniform_(unit.op.v, -0.2, 0.8)
    next(iter(algorithm.mutator.units.values())).op.v.data.uniform_(-0.2, 0.09)
    algorithm.started.fill_(True)
    return algorithm


@pytest.mark.parametrize('scale', ['output', 'weight'])
def test_what_stays(classifier_cfg, scale):
    first = drawn(fcf(classifier_cfg(), stage='factorize', scale=scale))
    algorithm = fcf(classifier_cfg(), scale=scale)
    algorithm.load_state_dict(first.state_dict())
    algorithm.settle()
    units = algorithm.mutator.units
    lone, *others = units
    for name in others:
        v, unit = first.mutator.units[name].op.v, units[name]
        assert torch.equal(unit.op.v, (v > 0.1).double())
        assert unit.width == int((v > 0.1).sum()) != unit.asked
    # A layer without filters would be no network.
    assert int(units[lone].op.v.argmax()) == int(first.mutator.units[lone].op.v.argmax())
    assert float(units[lone].op.v.sum()) == units[lone].width == 1

    again = fcf(classifier_cfg(), scale=scale)
    again.load_state_dict(algorithm.state_dict())
    again.settle()
    assert [u.width for u in again.mutator.units.values()] == [u.width for u in units.values()]
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = algorithm.eval().architecture(x, mode='tensor')
    static = to_static(again.eval())
    torch.testing.assert_close(static(x, mode='tensor'), expected, rtol=0, atol=1e-9)
    exact = fcf(classifier_cfg(), scale=scale, rounding='exact')
    exact.load_state_dict(algorithm.state_dict())
    with pytest.raises(CompressionError, match='target_pruning_ratio'):
        exact.settle()


def test_groups_keep_equally_many():
    """As many as the group with the most."""
    backbone = dict(
        type='mmpretrain.ResNeXt', depth=50, groups=4, width_per_group=2, stem_channels=8,
        base_channels=8,
    )  # fmt: skip
    model = dict(type='mmpretrain.ImageClassifier', backbone=backbone)
    parse = dict(input_shape=(1, 3, 32, 32))
    algorithm = drawn(fcf(model, parse_cfg=parse))
    before = {name: unit.rows.clone() for name, unit in algorithm.mutator.units.items()}
    algorithm.settle()
    several = 0
    for name, unit in algorithm.mutator.units.items():
        counts = unit.rows.sum(1)
        assert (counts == max(int((before[name] > 0.1).sum(1).max()), 1)).all()
        assert unit.width == int(counts.sum())
        several += unit.groups > 1
    assert several
