"""methods/fcf/decisions.py: which filters stay, and whether that is decided."""

import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS

from mmcompress.core import Clock, CompressionError
from mmcompress.methods.fcf import algorithm as source
from mmcompress.methods.fcf.decisions import choose, undecided

NET = dict(type='TinyNet', width=16)


def test_nothing_is_decided_at_first_and_all_at_last():
    rows = torch.tensor([[1.0, 1, 1, 1], [1, 0, 1, 0], [0.7, 0.1, 0.4, 0.9], [1.2, 1.1, -0.3, 0]])
    torch.testing.assert_close(undecided(rows, 2), torch.tensor([1.0, 0, 0.7, 0]))
    assert not undecided(rows, 4).any(), 'all stay: there is nothing to decide'


def test_scalars_decide_where_they_are_apart():
    v = torch.tensor([[0.9, 0.2, 0.8, 0.1], [0.0, 1.0, 0.0, 1.0]])
    hint = torch.tensor([[0.0, 9, 0, 9], [9, 0, 9, 0]])
    kept, by_hint = choose(v, 2, hint)
    assert kept.tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]
    assert not by_hint.any()


def test_hints_decide_the_others():
    """Those that are clearly above or below are not asked."""
    v = torch.tensor([[0.95, 0.5, 0.52, 0.48, 0.0, 0.49]])
    hint = torch.tensor([[0.0, 1, 2, 3, 9, 4]])
    kept, by_hint = choose(v, 3, hint)
    assert kept.tolist() == [[1, 0, 0, 1, 0, 1]]
    assert by_hint.tolist() == [[False, True, True, True, False, True]]


def test_a_later_hint_decides_among_equals():
    v = torch.ones(2, 4)
    first = torch.tensor([[0.0, 0, 0, 0], [0, 1, 1, 0]])
    second = torch.tensor([[0.1, 0.3, 0.2, 0.4], [0.4, 0.1, 0.2, 0.3]])
    assert choose(v, 2, first, second)[0].tolist() == [[0, 1, 0, 1], [0, 1, 1, 0]]
    assert choose(v, 1, first, second)[0].tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]


@pytest.fixture
def messages(monkeypatch):
    found = []
    monkeypatch.setattr(source, 'print_log', lambda text, **_: found.append(text))
    return found


def fcf(**kwargs):
    cfg = dict(type='mmcompress.FCF', architecture=NET, target_pruning_ratio=0.5, **kwargs)
    return MODELS.build(cfg)


def train(model, steps, lr=0.1, accumulate=1):
    wrapper = OptimWrapper(
        torch.optim.SGD(model.parameters(), lr=lr), accumulative_counts=accumulate
    )
    model.loaded = True
    model.start(wrapper)
    wrapper.initialize_count_status(model, 0, steps)
    for i in range(steps):
        batch = dict(inputs=list(torch.randn(4, 3, 8, 8)), data_samples=[0, 1, 2, 3])
        model.tick(Clock(0, i, 1, steps, i == 0))
        model.train_step(batch, wrapper)


@pytest.mark.parametrize(('steps', 'accumulate', 'after'), [(20, 1, 4), (3, 1, 1), (20, 2, 2)])
def test_the_penalty_is_at_its_largest_after_a_part_of_training(steps, accumulate, after):
    model = fcf()
    seen = []
    ascend = model.admm.ascend
    model.admm.ascend = lambda v: (ascend(v), seen.append(float(model.admm.rho)))
    train(model, steps, accumulate=accumulate)
    assert seen[after - 1 :] == pytest.approx([6.0] * (len(seen) - after + 1))
    assert max(seen) <= 6
    expected = 0.01 * (6 / 0.01) ** (1 / after)
    assert seen[0] == pytest.approx(expected)


def test_published_growth():
    assert fcf(mu=1.005).admm.mu == 1.005
    assert fcf(faithful=True, rho_max_at=1).admm.mu == 1.01


@pytest.mark.parametrize(
    ('settings', 'key'),
    [
        (dict(mu='fast'), "mu is 'fast'"),
        (dict(mu=0.5), r'mu is 0\.5'),
        (dict(rho_max_at=0), 'rho_max_at is 0'),
        (dict(rho_max_at=1.5), r'rho_max_at is 1\.5'),
    ],
)
def test_wrong_settings(settings, key):
    with pytest.raises(CompressionError, match=key):
        fcf(**settings)


def test_an_undecided_stage_is_told_of_and_rounded_by_what_the_images_show(messages):
    """Scalars that have hardly moved are all alike: the evidence decides, not the index."""
    model = fcf(mu=1.0, rho=1e-4)
    train(model, 3, lr=1e-3)
    assert not any('have not decided' in text for text in messages)
    progress = model.progress()
    assert progress['undecided'] > 0.9
    assert sum('1 of 1 layers have not decided' in text for text in messages) == 1
    [unit] = model.mutator.mutable_units
    evidence = model.admm.evidence[0].clone()
    assert evidence.min() > 0
    messages.clear()
    model.advance()
    assert (
        unit.op.v.nonzero().flatten().tolist() == evidence.topk(16).indices.sort().values.tolist()
    )
    assert any('1 layers have not decided' in text and '32 filters' in text for text in messages)


def test_evidence_is_the_first_order_change_of_the_loss():
    """``|v * dL/dv|`` of each step, summed."""
    model = fcf(alpha=0.5)
    wanted = torch.zeros(32)
    before = model._before_step

    def look():
        v = model.scalars[0]
        wanted.add_((v.detach() * v.grad).abs())
        before()

    model._before_step = look
    train(model, 3)
    torch.testing.assert_close(model.admm.evidence[0], wanted)
    assert math.isfinite(float(wanted.sum()))


def test_a_checkpoint_from_before_evidence_was_kept():
    model = fcf()
    state = model.state_dict()
    del state['admm.evidence']
    model.load_state_dict(state)
