"""Which filters DCFF keeps: the last choice that scores made, whatever breaks ties elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import Clock, CompressionError
from mmcompress.core.export.checkpoint import load_into
from mmcompress.core.export.static import to_static
from mmcompress.methods.dcff import FusedConv2d, importance
from mmcompress.methods.dcff.importance import choose, log_proxies, proxies, scores, temperature

NET = dict(type='TinyNet', width=8)
ONE_HOT = temperature(1, 300)


def cfg(**kwargs):
    return dict(type='mmcompress.DCFF', architecture=NET, target_pruning_ratio=0.5, **kwargs)


def mask(n, *indices):
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[list(indices)] = True
    return chosen


def indices(chosen):
    return chosen.nonzero().flatten().tolist()


def filters(n=12, shape=(3, 3, 3), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=generator, dtype=torch.float64)


# Scores and rounding


@pytest.mark.parametrize('n', [2, 16, 168, 512])
@pytest.mark.parametrize('scale', [0.3, 1.0, 10.0])
def test_one_hot_proxies_differ_by_less_than_rounding(n, scale):
    score, tolerance = scores(log_proxies(scale * filters(n), ONE_HOT))
    assert score.max() - score.min() <= tolerance
    assert tolerance < 1e-12 * n * score.abs().max()


@pytest.mark.parametrize('n', [3, 16, 168, 512])
@pytest.mark.parametrize('scale', [1e-3, 0.05, 1.0])
def test_mixtures_differ_by_more(n, scale):
    """By far; and at the scale of trained filters all neighbours in the order of scores do."""
    score, tolerance = scores(log_proxies(scale * filters(n), 1.0))
    assert score.max() - score.min() > 100 * tolerance
    if scale >= 0.05:
        assert score.sort().values.diff().min() > tolerance


def test_the_tolerance_bounds_the_rounding_of_sums():
    """Summed in other orders, scores move by less than it; the exact ones are in between."""
    log_p = log_proxies(filters(64), 2.0)
    score, tolerance = scores(log_p)
    for seed in range(5):
        order = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
        other, _ = scores(log_p[order][:, order])
        assert (other - score[order]).abs().max() <= tolerance


# The rule on given scores


@pytest.mark.parametrize(
    ('score', 'keep', 'before', 'expected'),
    [
        ([5.0, 1, 4, 2, 3], 2, (), [0, 2]),
        ([5.0, 1, 4, 2, 3], 2, (1, 3), [0, 2]),  # scores decide against the past
        ([7.0] * 5, 2, (1, 3), [1, 3]),  # they say nothing
        ([7.0, 7 + 1e-13, 7, 7, 7 - 1e-13], 2, (3, 4), [3, 4]),  # nor here
        ([9.0, 7, 7, 7, 7], 3, (2, 4), [0, 2, 4]),  # partly: the rest stays
        ([9.0, 9, 7, 7, 1], 3, (3, 4), [0, 1, 3]),
        ([7.0, 7, 7, 7, 1], 3, (1, 4), [1]),  # one stays, two of three others come
        ([float('nan')] * 5, 2, (1, 3), [1, 3]),
        ([1.0, float('inf'), 2, 3, 4], 2, (1, 3), [1, 3]),
        ([1.0, 2, 3, 4, 5], 5, (), [0, 1, 2, 3, 4]),
    ],
)
def test_the_rule(score, keep, before, expected):
    score = torch.tensor(score, dtype=torch.float64)
    tolerance = torch.tensor(1e-12, dtype=torch.float64)
    chosen = choose(score, tolerance, keep, mask(5, *before), filters(5).flatten(1))
    assert chosen.sum() == keep
    assert set(expected) <= set(indices(chosen))
    if len(expected) == 1:
        assert 4 not in indices(chosen)


def literal_choice(score, tolerance, keep, before, rows):
    """The docstring, one filter at a time."""
    cut = sorted(score, reverse=True)[keep - 1]

    def rank(j):
        if abs(score[j] - cut) <= tolerance:
            return 1 if before[j] else 2
        return 0 if score[j] > cut else 3

    order = sorted(range(len(score)), key=lambda j: (rank(j), rows[j]))
    return sorted(order[:keep])


def test_against_the_rule_in_words():
    generator = torch.Generator().manual_seed(3)
    seen = set()
    for _ in range(300):
        score = torch.randint(0, 4, (9,), generator=generator).double()
        score += 1e-14 * torch.randn(9, generator=generator, dtype=torch.float64)
        before = torch.rand(9, generator=generator) < 0.4
        rows = torch.randint(0, 3, (9, 4), generator=generator).double()
        keep = int(torch.randint(1, 10, (), generator=generator))
        expected = literal_choice(score.tolist(), 1e-12, keep, before.tolist(), rows.tolist())
        chosen = choose(score, torch.tensor(1e-12), keep, before, rows)
        # Filters that are equal in every respect are interchangeable.
        assert sorted(map(tuple, rows[chosen].tolist())) == sorted(
            tuple(rows[j].tolist()) for j in expected
        )
        seen.add(indices(chosen) == expected)
    assert True in seen


@pytest.mark.parametrize('temp', [1.0, ONE_HOT])
@pytest.mark.parametrize('earlier', [True, False])
def test_the_order_of_filters_does_not_matter(temp, earlier):
    """Also where all scores tie, with an earlier choice or without."""
    weight = filters(20)
    before = mask(20, 1, 5, 6, 11, 19) if earlier else mask(20)
    expected = proxies(weight, temp, 5, before).chosen
    for seed in range(6):
        order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
        found = proxies(weight[order], temp, 5, before[order]).chosen
        assert torch.equal(found, expected[order])
    assert (indices(expected) == [1, 5, 6, 11, 19]) is (earlier and temp == ONE_HOT)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_without_an_earlier_choice_the_weights_decide(dtype):
    """Whatever their type: the first in which two filters differ."""
    weight = filters(8).to(dtype)
    weight[:, 0, 0, 0] = torch.tensor([3.0, 1, 2, 1, 5, 4, 6, 7])
    weight[1, 0, 0, 1], weight[3, 0, 0, 1] = 2.0, -2.0
    assert indices(proxies(weight, ONE_HOT, 1).chosen) == [3]
    assert indices(proxies(weight, ONE_HOT, 3).chosen) == [1, 2, 3]


def test_two_filters_always_tie():
    """Their divergence is the same seen from either."""
    weight = filters(2)
    for temp in (1.0, 3.0, ONE_HOT):
        assert indices(proxies(weight, temp, 1, mask(2, 0)).chosen) == [0]
        assert indices(proxies(weight, temp, 1, mask(2, 1)).chosen) == [1]


def test_near_duplicates_are_told_apart_from_the_rest():
    """Proxies of two are soft still; they lose their places, the others keep theirs."""
    weight = filters(10)
    weight[3] = weight[7] + 1e-5
    score, tolerance = scores(log_proxies(weight, ONE_HOT))
    assert (score[[3, 7]] < score.max() - tolerance).all()
    found = proxies(weight, ONE_HOT, 4, mask(10, 0, 3, 5, 9))
    assert found.separates
    assert {0, 5, 9} <= set(indices(found.chosen))
    assert 3 not in indices(found.chosen)


# The layer


def layer(width=5, n=12, **kwargs):
    op = FusedConv2d(nn.Conv2d(6, n, 3, **kwargs).double())
    op.set_width(0, n, width)
    return op


def test_the_choice_of_the_first_fuse_step_stays():
    op = layer()
    assert not op.chosen.any()
    op.fuse(1.0)
    first, score = op.chosen.clone(), op.importance.clone()
    assert first.sum() == 5
    assert not torch.equal(first, mask(12, 0, 1, 2, 3, 4))
    for _ in range(3):
        with torch.no_grad():
            op.weight.add_(0.5 * torch.randn_like(op.weight))
        op.fuse(ONE_HOT)
        assert torch.equal(op.chosen, first)
        assert torch.equal(op.importance, score)
        assert torch.equal(op.proxies, torch.eye(12).double()[first])


def test_soft_proxies_go_on_choosing():
    op = layer()
    op.fuse(1.0)
    first = op.chosen.clone()
    with torch.no_grad():
        op.weight.copy_(op.weight.flip(0) * torch.linspace(0.2, 3, 12)[:, None, None, None])
    op.fuse(1.5)
    assert not torch.equal(op.chosen, first)
    assert torch.equal(op.chosen, proxies(op.weight, 1.5, 5).chosen)


def test_groups_keep_their_own():
    op = layer(width=4, groups=2)
    op.fuse(1.0)
    first = op.chosen.clone()
    assert first[:6].sum() == first[6:].sum() == 2
    op.fuse(ONE_HOT)
    assert torch.equal(op.chosen, first)


def test_proxies_are_renewed_all_the_same():
    """Kept is which filters, not how they are mixed."""
    op = layer(n=2, width=1)
    op.fuse(1.0)
    soft = op.proxies.clone()
    op.fuse(3.0)
    assert not torch.equal(op.proxies, soft)


# Checkpoints


@pytest.mark.parametrize('temp', [1.0, 3.0, ONE_HOT])
def test_a_file_without_the_choice(temp):
    op = layer()
    with torch.no_grad():
        op.weight[8] = op.weight[2]
    op.fuse(temp)
    state = op.state_dict()
    del state['chosen']
    other = layer()
    other.fill_missing(state, '')
    other.load_state_dict(state, strict=True)
    assert torch.equal(other.proxies, op.proxies)
    equal = other.weight[other.chosen].sort(dim=0).values
    assert torch.equal(equal, op.weight[op.chosen].sort(dim=0).values)
    assert other.chosen.sum() == 5


def test_a_file_from_before_the_first_fuse_step():
    op, other = layer(), layer()
    state = op.state_dict()
    del state['chosen']
    other.fuse(1.0)
    other.fill_missing(state, '')
    other.load_state_dict(state)
    assert not other.chosen.any()


def test_the_tools_take_a_file_without_the_choice(tmp_path):
    model, other = MODELS.build(cfg()), MODELS.build(cfg())
    model.fuse(1.0)
    state = {key: value for key, value in model.state_dict().items() if 'chosen' not in key}
    torch.save(dict(state_dict=state), tmp_path / 'old.pth')
    load_into(other, tmp_path / 'old.pth')
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    del state['architecture.backbone.conv1.proxies']
    torch.save(dict(state_dict=state), tmp_path / 'broken.pth')
    with pytest.raises(CompressionError, match=r'conv1\.proxies is missing .*1 missing'):
        load_into(other, tmp_path / 'broken.pth')


def test_a_file_of_another_width_is_refused():
    state = layer(width=7).state_dict()
    del state['chosen']
    with pytest.raises(RuntimeError, match='proxies'):
        layer(width=5).load_state_dict(state)


def test_resumed_equals_uninterrupted(make_runner):
    """Also when the file is an old one, which does not say what was chosen."""
    whole = make_runner(cfg(), 3, seed=1, validate=False)
    whole.train()
    first = Path(whole.work_dir, 'epoch_1.pth')
    old = torch.load(first, weights_only=True)
    chosen = [key for key in old['state_dict'] if key.endswith('chosen')]
    assert len(chosen) == 2
    for key in chosen:
        del old['state_dict'][key]
    torch.save(old, first.with_name('old.pth'))
    expected = torch.load(Path(whole.work_dir, 'epoch_3.pth'), weights_only=True)['state_dict']
    for path in (first, first.with_name('old.pth')):
        again = make_runner(cfg(), 3, seed=1, resume=path, validate=False)
        again.train()
        found = torch.load(Path(again.work_dir, 'epoch_3.pth'), weights_only=True)['state_dict']
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize('update_buffers', [False, True])
def test_a_moving_average_takes_the_choice_as_it_is(make_runner, update_buffers):
    runner = make_runner(cfg(), 2, seed=1, validate=False)
    runner.register_hook(dict(type='EMAHook', momentum=0.1, update_buffers=update_buffers))
    runner.train()
    file = torch.load(Path(runner.work_dir, 'epoch_2.pth'), weights_only=True)
    # As the hook saves them: the average under the model's name, and the other way round.
    average, trained = file['state_dict'], file['ema_state_dict']
    for key, value in average.items():
        if key.endswith(('chosen', 'proxies', 'importance')):
            assert torch.equal(value, trained[f'module.{key}']), key
    averaged = {'architecture.backbone.conv1.weight': True}
    averaged['architecture.backbone.bn1.running_mean'] = update_buffers
    for key, differs in averaged.items():
        assert torch.equal(average[key], trained[f'module.{key}']) != differs, key
    assert average['fuse_steps'] == 2
    model = MODELS.build(cfg())
    model.load_state_dict(average)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(to_static(model)(x), model.eval()(x))


def test_export_takes_the_chosen_filters():
    model = MODELS.build(cfg())
    for epoch in range(2):
        model.tick(Clock(epoch, epoch, 300, 300, True))
    static = to_static(model)
    for name in ('conv1', 'conv2'):
        op = model.architecture.backbone.get_submodule(name)
        assert torch.equal(static.backbone.get_submodule(name).weight, op.weight[op.chosen])


# Several processes


RANK = """
import sys, torch
from torch import distributed, nn
from mmcompress.methods.dcff import FusedConv2d
from mmcompress.methods.dcff.importance import proxies
rank, folder = int(sys.argv[1]), sys.argv[2]
store = f'file://{folder}/store'
distributed.init_process_group('gloo', init_method=store, rank=rank, world_size=2)
torch.manual_seed(rank)
op = FusedConv2d(nn.Conv2d(6, 12, 3))
op.set_width(0, 12, 5)
own = proxies(op.weight, 1.0, 5).chosen
op.fuse(1.0)
soft = op.proxies.clone()
op.fuse(4622.0)
torch.save((soft, op.proxies, op.importance, op.chosen, own), f'{folder}/{rank}.pth')
distributed.barrier()
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_all_ranks_choose_as_the_first(tmp_path):
    """Even with weights of their own, from which they would choose otherwise."""
    ranks = [
        subprocess.Popen([sys.executable, '-c', RANK, str(rank), str(tmp_path)])
        for rank in range(2)
    ]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f'{rank}.pth') for rank in range(2))
    for one, other in zip(first[:4], second[:4], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(first[3], first[4])
    assert not torch.equal(second[3], second[4])


# Options of the schedule


def test_the_schedule_is_an_option():
    options = dict(temperature_start=2.0, temperature_end=50.0, kappa=0.25)
    model = MODELS.build(cfg(fuse_interval=2, **options))
    for epoch in range(0, 12, 2):
        model.tick(Clock(epoch, epoch, 12, 12, True))
        expected = temperature(epoch / 2, 6, 2.0, 50.0, 0.25)
        assert float(model.fuse_temperature) == pytest.approx(expected, rel=1e-6)
    assert MODELS.build(cfg()).schedule == (1.0, 1e4, 1.0)


def test_what_the_docs_say_of_the_published_one():
    rise = [round(temperature(step, 300)) for step in (0, 1, 2, 10)]
    assert rise == [1, 4622, 7616, 9999]
    p = log_proxies(torch.tensor([[0.0], [0.17]]), ONE_HOT).exp()
    assert torch.equal(p, torch.eye(2, dtype=p.dtype))
    assert temperature(4, 300, kappa=1) == pytest.approx(0.964 * 1e4, rel=1e-3)


@pytest.mark.parametrize('key', ['temperature_start', 'temperature_end', 'kappa'])
@pytest.mark.parametrize('value', [0, -1.0, '1', None, True, float('inf'), float('nan')])
def test_a_bad_schedule(key, value):
    with pytest.raises(CompressionError, match=key):
        MODELS.build(cfg(**{key: value}))


def test_a_falling_temperature():
    with pytest.raises(CompressionError, match='temperature_end is 0.5'):
        MODELS.build(cfg(temperature_end=0.5))


def test_nothing_else_breaks_ties(monkeypatch):
    """A ``topk`` that leaves ties in another order gives the same choice."""
    weight, before = filters(20), mask(20, 0, 3, 9)
    expected = proxies(weight, ONE_HOT, 3, before).chosen
    topk = torch.Tensor.topk

    def other(self, k):
        values, found = topk(self.flip(0), k)
        return torch.return_types.topk((values, len(self) - 1 - found))

    monkeypatch.setattr(importance.Tensor, 'topk', other)
    assert torch.equal(proxies(weight, ONE_HOT, 3, before).chosen, expected)
