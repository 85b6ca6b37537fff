"""A tensor made of others: made once, and again when they have changed."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from mmcompress.methods.linear_conv.remembered import Remembered


class Square(nn.Module):
    """Remembers the square of its weight, and counts how often it makes it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(3.0))
        self.square, self.made = Remembered(), 0

    def make(self):
        self.made += 1
        return self.weight**2

    def forward(self):
        return self.square([self.weight], self.make)


CHANGES = {
    'optimizer': lambda m: _step(m, torch.optim.SGD(m.parameters(), lr=1)),
    'adam': lambda m: _step(m, torch.optim.Adam(m.parameters(), lr=1)),
    'fused': lambda m: _step(m, torch.optim.Adam(m.parameters(), lr=1, fused=True)),
    'foreach': lambda m: _step(m, torch.optim.SGD(m.parameters(), lr=1, foreach=True)),
    'in_place': lambda m: m.weight.detach().add_(1),
    'loading': lambda m: m.load_state_dict(dict(weight=torch.ones(3))),
    'new_parameter': lambda m: setattr(m, 'weight', nn.Parameter(torch.ones(3))),
    'new_data': lambda m: setattr(m.weight, 'data', torch.ones(3)),
    'double': lambda m: m.double(),
}


def _step(module, optimizer):
    module().sum().backward()
    optimizer.step()


@pytest.mark.parametrize('change', CHANGES)
def test_made_again_after_a_change(change):
    module = Square()
    with torch.no_grad():
        first = module()
        assert module() is first
    CHANGES[change](module)
    with torch.no_grad():
        second = module()
        torch.testing.assert_close(second, module.weight.detach() ** 2)
        assert module() is second


def test_made_once_without_gradients():
    module = Square()
    with torch.no_grad():
        for _ in range(3):
            module()
    assert module.made == 1
    module.square.forget()
    with torch.no_grad():
        module()
    assert module.made == 2
    module.weight.requires_grad_(False)
    module()
    assert module.made == 2, 'a frozen weight has no gradient either'


def test_made_every_time_with_gradients():
    module = Square()
    with torch.no_grad():
        module()
    for _ in range(2):
        module().sum().backward()
    assert module.made == 3
    torch.testing.assert_close(module.weight.grad, 4 * torch.arange(3.0))


def test_an_address_that_is_used_again():
    """Freed memory is given away again; what was made of the old tensor must not come with it."""
    module = Square()
    with torch.no_grad():
        for value in range(20):
            module.weight = nn.Parameter(torch.full((3,), float(value)))
            torch.testing.assert_close(module(), torch.full((3,), float(value) ** 2))


def test_inference_mode_leaves_nothing_behind():
    module = Square()
    with torch.inference_mode():
        inside = module()
        assert module() is inside
    assert module.made == 1
    module.weight.requires_grad_(False)
    x = torch.ones(3, requires_grad=True)
    (module() * x).sum().backward()
    torch.testing.assert_close(x.grad, inside.clone())


def test_a_failure_leaves_nothing_behind():
    module = Square()
    with torch.no_grad():
        module()
        module.weight.add_(1)
        make, module.make = module.make, lambda: 1 / 0
        with pytest.raises(ZeroDivisionError):
            module()
        module.make = make
        torch.testing.assert_close(module(), module.weight.detach() ** 2)


@pytest.mark.parametrize('duplicate', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_begin_with_nothing(duplicate):
    module = Square()
    with torch.no_grad():
        module()
    twin = duplicate(module)
    assert twin.square._made is None
    with torch.no_grad():
        twin.weight.zero_()
        assert not twin().any()
        assert module().any()
