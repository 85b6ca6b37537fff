"""methods/fcf/around_step.py: which steps are seen, and what weight decay touches."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.methods.fcf.around_step import around_step

OPTIMIZERS = {
    'SGD': dict(lr=0.1, momentum=0.9, nesterov=True),
    'AdamW': dict(lr=0.1),
    'Adam': dict(lr=0.1, amsgrad=True),
    'RMSprop': dict(lr=0.1),
}


def parameters():
    generator = torch.Generator().manual_seed(3)
    return [nn.Parameter(torch.randn(4, generator=generator)) for _ in range(3)]


def steps(name, decay, params, chosen=(1,), watch=None, groups=False, **kwargs):
    """Five steps on a fixed loss, with changing rates; returns the optimizer."""
    given = params
    if groups:
        given = [dict(params=params[:2], lr=0.05), dict(params=params[2:])]
    args = {**OPTIMIZERS[name], **kwargs}
    optimizer = getattr(torch.optim, name)(given, weight_decay=decay, **args)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    wrapper = OptimWrapper(optimizer)
    around_step(wrapper, [params[i] for i in chosen], watch or (lambda: None), lambda: None)
    for step in range(5):
        wrapper.update_params(sum((p * (i + step - 2)).sum() for i, p in enumerate(params)))
        schedule.step()
    return optimizer


@pytest.mark.parametrize('groups', [False, True])
@pytest.mark.parametrize('name', OPTIMIZERS)
def test_weight_decay_spares_the_chosen_alone(name, groups):
    runs = []
    for decay, chosen in ((0.1, (1,)), (0.0, (1,)), (0.1, ())):
        params = parameters()
        steps(name, decay, params, chosen, groups=groups)
        runs.append([p.detach().clone() for p in params])
    spared, without, decayed = runs
    assert torch.equal(spared[1], without[1])
    assert not torch.equal(spared[1], decayed[1])
    for i in (0, 2):
        assert torch.equal(spared[i], decayed[i]), 'the others decay as they always do'
        assert not torch.equal(spared[i], without[i])


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_groups_and_state_are_those_of_an_untouched_optimizer(name):
    one, other = parameters(), parameters()
    ours, theirs = steps(name, 0.1, one), steps(name, 0.1, other, chosen=())
    assert [len(g['params']) for g in ours.param_groups] == [3]
    assert all(p is q for p, q in zip(ours.param_groups[0]['params'], one, strict=True))
    settings = [
        {key: value for key, value in o.param_groups[0].items() if key != 'params'}
        for o in (ours, theirs)
    ]
    assert settings[0] == settings[1]
    assert settings[0]['weight_decay'] == 0.1
    assert settings[0]['lr'] == pytest.approx(0.1 * 0.5**5)
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours['param_groups'] == theirs['param_groups']
    assert ours['state'].keys() == theirs['state'].keys()
    for key in (0, 2):
        for name in theirs['state'][key]:
            found, expected = ours['state'][key][name], theirs['state'][key][name]
            assert torch.equal(torch.as_tensor(found), torch.as_tensor(expected))


def test_a_rate_that_a_schedule_sets_counts():
    """The scalars' group for a step is made of the settings of that step."""
    one, other = parameters(), parameters()
    steps('SGD', 0.1, one, momentum=0, nesterov=False)
    steps('SGD', 0.0, other, momentum=0, nesterov=False)
    torch.testing.assert_close(one[1], other[1], rtol=0, atol=0)
    rates = [0.1 * 0.5**i for i in range(5)]
    expected = parameters()[1] - sum(r * (1 + i - 2) for i, r in enumerate(rates))
    torch.testing.assert_close(one[1], expected)


def test_gradients_are_averaged_and_clipped_before_it_looks():
    """Once for each step of the optimizer, however many batches that takes."""
    (weight,) = parameters()[:1]
    seen = []
    wrapper = OptimWrapper(
        torch.optim.SGD([weight], lr=0.1), accumulative_counts=2, clip_grad=dict(max_norm=1.0)
    )
    around_step(wrapper, [weight], lambda: seen.append(weight.grad.clone()), lambda: None)
    slopes = torch.tensor([[1.0, 2, 3, 4], [5, 0, 1, 2], [0.1, 0, 0, 0], [0, 0.3, 0, 0]])
    for slope in slopes:
        wrapper.update_params((weight * slope).sum())
    mean = slopes.view(2, 2, 4).mean(1)
    assert len(seen) == 2
    torch.testing.assert_close(seen[0], mean[0] / mean[0].norm(), rtol=1e-4, atol=0)
    torch.testing.assert_close(seen[1], mean[1])


def test_before_and_after():
    (weight,) = parameters()[:1]
    start = weight.detach().clone()
    wrapper = OptimWrapper(torch.optim.SGD([weight], lr=0.5))
    seen = []

    def before():
        seen.append(weight.detach().clone())
        weight.grad.fill_(2)

    around_step(wrapper, [weight], before, lambda: seen.append(weight.detach().clone()))
    wrapper.update_params(weight.sum())
    assert torch.equal(seen[0], start)
    torch.testing.assert_close(seen[1], start - 1)


class ScaledWrapper(OptimWrapper):
    """What ``AmpOptimWrapper`` does, which needs a GPU; the scaler is the same."""

    def __init__(self, scale, clip=None, **kwargs):
        super().__init__(**kwargs)
        self.scaler = torch.amp.GradScaler('cpu', init_scale=scale)
        self.clip = clip

    def backward(self, loss, **kwargs):
        self.scaler.scale(loss).backward()

    def step(self, **kwargs):
        if self.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]['params'], self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()


@pytest.mark.parametrize('clip', [None, 0.5])
def test_gradients_are_unscaled_before_it_looks(clip):
    results = []
    for scale in (1.0, 2.0**14):
        params = parameters()
        seen = []
        wrapper = ScaledWrapper(scale, clip, optimizer=torch.optim.SGD(params, lr=0.1))
        around_step(wrapper, params[:1], lambda s=seen, p=params: s.append(p[0].grad.clone()), int)
        for step in range(3):
            wrapper.update_params(sum((p * (step + 1)).square().sum() for p in params))
        results.append(seen)
    assert len(results[0]) == 3
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_step_that_amp_skips_is_none():
    params = parameters()
    wrapper = ScaledWrapper(8.0, optimizer=torch.optim.SGD(params, lr=0.1))
    calls = []
    around_step(wrapper, params[:1], lambda: calls.append('before'), lambda: calls.append('after'))
    before = [p.detach().clone() for p in params]
    wrapper.update_params(sum(p.sum() for p in params) * torch.inf)
    assert calls == []
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))
    wrapper.update_params(sum(p.sum() for p in params))
    assert calls == ['before', 'after']


@pytest.mark.parametrize('clip', [None, 0.5])
def test_fused_optimizers_hide_skipped_steps(clip):
    """With clipping gradients are unscaled in time, but a step may still be skipped unseen."""
    params = parameters()
    optimizer = torch.optim.SGD(params, lr=0.1, fused=True)
    wrapper = ScaledWrapper(8.0, clip, optimizer=optimizer)
    calls = []
    around_step(wrapper, params[:1], lambda: calls.append(1), lambda: calls.append(2))
    with pytest.raises(CompressionError, match='fused=False'):
        wrapper.update_params(sum(p.sum() for p in params))
    assert calls == []


def test_fused_optimizers_without_amp():
    params = parameters()
    calls = []
    wrapper = OptimWrapper(torch.optim.SGD(params, lr=0.1, fused=True))
    around_step(wrapper, params[:1], lambda: calls.append(1), lambda: calls.append(2))
    wrapper.update_params(sum(p.sum() for p in params))
    assert calls == [1, 2]


def test_scalars_that_are_not_trained():
    params = parameters()
    wrapper = OptimWrapper(torch.optim.SGD(params[1:], lr=0.1))
    with pytest.raises(CompressionError, match='1 of 2 vectors of scalars are not among'):
        around_step(wrapper, params[:2], int, int)


def test_several_optimizers():
    wrapper = OptimWrapperDict(one=OptimWrapper(torch.optim.SGD(parameters(), lr=0.1)))
    with pytest.raises(CompressionError, match='optim_wrapper is a OptimWrapperDict'):
        around_step(wrapper, [], int, int)


def test_a_copy_of_the_optimizers_state_resumes():
    one = parameters()
    optimizer = steps('SGD', 0.1, one)
    state = copy.deepcopy(optimizer.state_dict())
    fresh = torch.optim.SGD(parameters(), **OPTIMIZERS['SGD'], weight_decay=0.1)
    fresh.load_state_dict(state)
    assert len(fresh.param_groups) == 1
    assert len(fresh.state) == 3
