"""The export, rehearsed before training: the search for what is to blame, and its limits."""

import pytest
import torch
from torch import nn

from mmcompress.core.base import rehearsal
from mmcompress.core.base.mutator import Mutator
from mmcompress.core.base.op import Op
from mmcompress.core.base.rehearsal import Rehearsal, perturb
from mmcompress.core.errors import CompressionError


class Negated(Op):
    """A layer that an export takes for its negative, if it is a bad one."""

    def __init__(self, layer, bad):
        super().__init__()
        self.layer, self.bad = layer, bad

    def forward(self, x):
        return self.layer(x)

    @property
    def forms(self):
        return ('right', 'negative') if self.bad else ('right',)

    def to_static(self, form=None):
        if form == 'negative':
            self.layer.weight.neg_()
        return self.layer


class ToyMutator(Mutator):
    parser, key = 'none', 'units'

    def prepare_from_supernet(self, architecture, ratios=None, budget=None):
        raise AssertionError

    def prepare_units(self, architecture):
        for name, bad in self.units.items():
            if bad is None:
                raise RuntimeError('cannot be\nprepared')
            if bad == 'config':
                raise CompressionError('a key is wrong')
            setattr(architecture, name, Negated(getattr(architecture, name), bad))


def toy(**units):
    model = nn.Sequential()
    for name in units:
        model.add_module(name, nn.Conv2d(3, 3, 1))
    mutator = ToyMutator()
    mutator.units = units
    return Rehearsal(mutator, model, (1, 3, 4, 4)), model


def test_nothing_to_blame_and_the_model_stays(rng_state):
    rehearsal, model = toy(a=False, b=False)
    state, random = {k: v.clone() for k, v in model.state_dict().items()}, rng_state()
    assert rehearsal.fault(rehearsal.mutator.units) == ''
    assert rng_state() == random
    assert type(model.a) is nn.Conv2d
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_all_forms_are_tried_and_the_search_is_short():
    names = [f'layer{i}' for i in range(16)]
    rehearsal, _ = toy(**{name: name in ('layer3', 'layer12') for name in names})
    units = rehearsal.mutator.units
    fault = rehearsal.fault(units)
    assert 'differ' in fault
    blamed = rehearsal.search(units, fault)
    assert list(blamed) == ['layer3', 'layer12']
    assert rehearsal.fault({n: u for n, u in units.items() if n not in blamed}) == ''
    assert rehearsal._trials < 20


def test_a_search_ends(monkeypatch):
    monkeypatch.setattr(rehearsal, 'TRIALS', 6)
    found, _ = toy(**{f'layer{i}': i % 2 == 0 for i in range(16)})
    blamed = found.search(found.mutator.units, 'a fault')
    assert found._trials <= 8
    assert {f'layer{i}' for i in range(0, 16, 2)} <= blamed.keys()


def test_errors_are_faults_unless_the_config_is_wrong():
    found, _ = toy(a=False, b=None)
    assert found.fault(found.mutator.units) == 'the export would fail: cannot be'
    assert found.search(found.mutator.units, 'x') == dict(b='the export would fail: cannot be')
    found, _ = toy(a='config')
    with pytest.raises(CompressionError, match='a key is wrong'):
        found.fault(found.mutator.units)


def test_models_of_which_nothing_can_be_said():
    class Counts(nn.Conv2d):
        """Never the same twice."""

        count = 0

        def forward(self, x):
            Counts.count += 1
            return super().forward(x) * Counts.count

    found = Rehearsal(ToyMutator(), nn.Sequential(Counts(3, 4, 1)), (1, 3, 4, 4))
    assert found.search({'0': False}, 'a fault') == {}
    assert 'cannot be compared' in found.impossible
    none = Rehearsal(ToyMutator(), nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(7, 2)), (1, 3, 4, 4))
    assert 'accepts no demo batch' in none.impossible


def test_everything_changes_and_stays_of_its_size():
    model = nn.Sequential(nn.Conv2d(16, 64, 3), nn.BatchNorm2d(64), nn.Linear(8, 8))
    nn.init.zeros_(model[2].weight)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(0)
    perturb(model)
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            assert not bool((value == before[key]).any()), key
            assert float((value - before[key]).std()) < 1, key
    assert bool((model[1].running_var > 0).all())
