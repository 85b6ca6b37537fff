"""`evaluating` restores every module's mode without calling train()."""

import pytest
from torch import nn

from mmcompress.report.modes import evaluating


class _Frozen(nn.Sequential):
    """Freezes its first layer on every train(), as OpenMMLab's backbones do."""

    def train(self, mode: bool = True):
        super().train(mode)
        self[0].eval()
        self[0].requires_grad_(False)
        return self


def test_restores_each_flag():
    model = _Frozen(nn.Linear(2, 2), nn.Dropout(), nn.Sequential(nn.Dropout()))
    model[2].eval()
    flags = [module.training for module in model.modules()]
    with evaluating(model, model[2]):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == flags
    assert model[0].weight.requires_grad


def test_restores_after_an_error():
    model = nn.Dropout()
    with pytest.raises(RuntimeError, match='inside'), evaluating(model):
        raise RuntimeError('inside')
    assert model.training
