"""core/channels/gate.py: channels that are silenced, and removed in the end."""

import copy

import pytest
import torch
from mmengine.registry import MODELS as ROOT
from torch import nn

from mmcompress.core import (
    CompressionAlgorithm,
    CompressionError,
    GatedMutator,
    GatedUnit,
    UnitConfig,
)
from mmcompress.core.channels.config import ChannelRange
from mmcompress.core.channels.gate import Gate, ScaledConv2d
from mmcompress.core.export.static import to_static
from mmcompress.registry import MODELS


@MODELS.register_module(force=True)
class GateTestUnit(GatedUnit):
    pass


@MODELS.register_module(force=True)
class GateTestMutator(GatedMutator):
    unit_type = 'GateTestUnit'


@MODELS.register_module(force=True)
class GateTestAlgorithm(CompressionAlgorithm):
    """Gates that nobody closes."""

    mutator_type = GateTestMutator


def gates(architecture, **mutator):
    cfg = dict(
        type='mmcompress.GateTestAlgorithm', architecture=architecture, target_pruning_ratio=0.5
    )
    return ROOT.build(dict(cfg, mutator_cfg=dict(type='GateTestMutator', **mutator)))


def test_open_gates_change_nothing(classifier_cfg, random_norms):
    algorithm = gates(classifier_cfg())
    dense = random_norms(ROOT.build(classifier_cfg()))
    algorithm.load_state_dict(dense.state_dict(), strict=False)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(algorithm.architecture.eval()(x), dense.eval()(x))
    kinds = [type(module) for module in algorithm.architecture.modules()]
    # Behind each convolution its norm, and two shortcuts that pad.
    assert (kinds.count(ScaledConv2d), kinds.count(Gate)) == (7, 7 + 2)


def test_the_largest_scales_stay(classifier_cfg, random_norms):
    """The network without the silent channels does the same; so do its residual streams."""
    algorithm = random_norms(gates(classifier_cfg()))
    for unit in algorithm.mutator.units.values():
        unit.op.scales.fill_(0)
        unit.op.scales[torch.randperm(unit.num_channels)[: unit.width]] = 1
        assert unit.kept().tolist() == unit.op.scales.nonzero().flatten().tolist()
    x = torch.randn(2, 3, 32, 32)
    static, trained = to_static(algorithm), algorithm.architecture.eval()
    torch.testing.assert_close(static(x), trained(x), rtol=1e-4, atol=1e-5)
    assert static.backbone.conv1.out_channels == 8


def test_what_stands_behind_a_silent_channel(classifier_cfg, random_norms):
    algorithm = random_norms(gates(classifier_cfg()))
    unit = next(iter(algorithm.mutator.units.values()))
    before = copy.deepcopy(algorithm.architecture)
    unit.op.scales[2] = 0
    seen = []
    for name, op in unit.places.items():
        if isinstance(op, Gate):
            module = algorithm.architecture.get_submodule(name)
            module.register_forward_hook(lambda m, _, out: seen.append(out))
    x = torch.randn(2, 3, 32, 32)
    for mode in (True, False):
        algorithm.architecture.train(mode)(x)
    assert seen
    assert not any(out[:, 2].any() for out in seen)
    assert not torch.allclose(algorithm.architecture(x), before.eval()(x))


@pytest.mark.parametrize('argument', ['norms', 'config', 'type'])
def test_what_the_mutator_says_is_no_setting(tiny_cfg, argument):
    unit = dict(default_args={argument: {}})
    with pytest.raises(CompressionError, match=f"'{argument}' is no argument for init_args"):
        gates(tiny_cfg, channel_unit_cfg=unit)


def test_groups_are_those_of_the_layers():
    """A divisor that the user asks for makes none; and the analyzer's config stays as it was."""
    net = nn.Module()
    net.a = nn.Conv2d(4, 12, 3, groups=2)
    found = UnitConfig(12, 2, [ChannelRange('a', 0, 12, True)])
    unit = GatedUnit(found, 0.7, divisor=4)
    unit.prepare(net)
    net.a.mask.copy_(torch.arange(12.0))
    assert unit.width == 8
    assert unit.kept().tolist() == [2, 3, 4, 5, 8, 9, 10, 11]
    assert (found.divisor, unit.config.divisor) == (2, 4)
