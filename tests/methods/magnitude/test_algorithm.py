"""methods/magnitude/algorithm.py: from a dense network to a narrower one."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import Clock, CompressionError
from mmcompress.core.export.export import export
from mmcompress.core.export.static import to_static
from mmcompress.methods.magnitude import algorithm as source
from mmcompress.methods.magnitude.criteria import CRITERIA

TINY = dict(type='mmengine.TinyNet', width=8)


def config(architecture=TINY, ratio=0.5, **kwargs):
    cfg = dict(type='mmcompress.Magnitude', architecture=architecture, target_pruning_ratio=ratio)
    return {**cfg, **kwargs}


def magnitude(*args, **kwargs):
    return MODELS.build(config(*args, **kwargs))


def masks(algorithm):
    return {name: unit.op.mask.tolist() for name, unit in algorithm.mutator.units.items()}


def train(algorithm, length, wrapper=None, start=0):
    optimizer = torch.optim.SGD(algorithm.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    wrapper = wrapper or OptimWrapper(optimizer)
    algorithm.train().start(wrapper)
    left = []
    for i in range(start, length):
        generator = torch.Generator().manual_seed(i)
        algorithm.tick(Clock(0, i, 1, length, i == 0))
        inputs = torch.randn(4, 3, 8, 8, generator=generator)
        algorithm.train_step(dict(inputs=inputs, data_samples=[0, 1, 2, 3]), wrapper)
        left.append(algorithm.progress()['left'])
    return left


@pytest.mark.parametrize('criterion', CRITERIA)
def test_exported_exactly(classifier_cfg, random_norms, criterion):
    algorithm = random_norms(magnitude(classifier_cfg(), criterion=criterion, begin=0.5))
    x = torch.randn(4, 3, 32, 32)
    for share in (0.0, 0.5):
        if criterion == 'taylor':
            algorithm.architecture(x).square().sum().backward()
            algorithm._watch()
        algorithm.tick(Clock(0, int(100 * share), 1, 100, True))
    trained, static = algorithm.architecture.eval(), to_static(algorithm)
    torch.testing.assert_close(static(x), trained(x), rtol=1e-5, atol=1e-5)
    widths = {n: m.out_channels for n, m in static.named_modules() if isinstance(m, nn.Conv2d)}
    assert widths['backbone.layer3.0.conv1'] == 32
    assert widths['backbone.conv1'] == 8
    assert all(type(m) is not type(algorithm.mutator) for m in static.modules())


def test_the_smallest_of_the_loaded_network_go():
    dense = MODELS.build(TINY)
    with torch.no_grad():
        for i, size in enumerate([3, 0, 2, 1, 7, 6, 5, 4]):
            dense.backbone.conv1.weight[i] = (size + 1) * (-1) ** i
    algorithm = magnitude()
    algorithm.load_state_dict(dense.state_dict(), strict=False)
    assert all(set(mask) == {1} for mask in masks(algorithm).values()), 'loading prunes nothing'
    algorithm.tick(Clock(0, 0, 1, 10, True))
    first = next(iter(masks(algorithm).values()))
    assert first == [0, 0, 0, 0, 1, 1, 1, 1]
    kept = to_static(algorithm).backbone.conv1.weight
    assert torch.equal(kept, dense.backbone.conv1.weight[4:])


@pytest.mark.parametrize('schedule', ['cubic', 'linear'])
@pytest.mark.parametrize('ranking', ['local', 'global'])
def test_widths_shrink_step_by_step(schedule, ranking):
    algorithm = magnitude(
        dict(TINY, width=16), steps=4, begin=0.0, end=0.6, schedule=schedule, ranking=ranking
    )
    seen = []
    for i in range(10):
        before = copy.deepcopy(masks(algorithm))
        algorithm.tick(Clock(0, i, 1, 10, i == 0))
        for name, mask in masks(algorithm).items():
            assert all(new <= old for new, old in zip(mask, before[name], strict=True))
        seen.append(algorithm.progress()['left'])
    power = 1 if schedule == 'linear' else 3
    kept = [1 - 0.5 * (1 - (1 - step / 4) ** power) for step in (1, 2, 3, 4)]
    sizes = (16, 32) if ranking == 'local' else (48,)
    expected = [sum(int(n * share + 1e-6) for n in sizes) for share in kept]
    assert seen == [n for n in expected[:3] for _ in range(2)] + [expected[3]] * 4
    assert expected[0] > expected[1] > expected[2] >= expected[3] == 24
    assert algorithm.unfinished() == ''


def test_all_ranks_take_the_masks_of_the_first(monkeypatch):
    theirs = torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1])
    algorithm = magnitude()
    monkeypatch.setattr(
        source, 'broadcast', lambda mask: mask.copy_(theirs) if len(mask) == 8 else None
    )
    algorithm.tick(Clock(0, 0, 1, 10, True))
    assert next(iter(masks(algorithm).values())) == theirs.tolist()


def test_what_is_gone_stays_silent(make_runner):
    algorithm = magnitude(steps=2, end=0.5)
    runner = make_runner(algorithm, 4, validate=False)
    runner.train()
    trained = runner.model
    assert all(sum(mask) == len(mask) // 2 for mask in masks(trained).values())
    out = {}
    for name, module in trained.architecture.backbone.named_children():
        module.register_forward_hook(lambda m, _, o, name=name: out.update({name: o}))
    for mode in (True, False):
        trained.train(mode)
        trained.architecture(torch.randn(3, 3, 8, 8))
        for conv, norm in (('conv1', 'bn1'), ('conv2', 'bn2')):
            mask = getattr(trained.architecture.backbone, conv).mask
            assert not out[norm][:, mask == 0].any()
            assert out[norm][:, mask == 1].flatten(2).any(2).any(0).all()


@pytest.mark.parametrize('criterion', ['taylor', 'random', 'fpgm'])
@pytest.mark.parametrize('stop', [1, 2])
def test_resumed_to_the_last_bit(make_runner, criterion, stop):
    cfg = config(dict(TINY, dropout=0.5), criterion=criterion, steps=3, begin=0.2, end=0.8)
    states, resume = [], None
    for _ in range(2):
        runner = make_runner(cfg, 3, True, resume=resume, seed=4)
        runner.train()
        folder = Path(runner.work_dir)
        states.append(torch.load(folder / 'epoch_3.pth')['state_dict'])
        resume = folder / f'epoch_{stop}.pth'
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key
    assert states[0]['steps_done'] == 3
    evidence = [v for k, v in states[0].items() if k.endswith('.evidence')]
    assert all(v.any() for v in evidence) == (criterion == 'taylor')


def test_taylor_sees_what_the_optimizer_sees():
    algorithm = magnitude(criterion='taylor', begin=0.5)
    optimizer = torch.optim.SGD(algorithm.parameters(), lr=0.0)
    train(algorithm, 4, OptimWrapper(optimizer, accumulative_counts=2))
    first = next(iter(algorithm.mutator.units.values()))
    # Of four batches in two steps, one comes before the pruning.
    expected = torch.zeros(8)
    algorithm.zero_grad()
    twin = magnitude(criterion='taylor', begin=0.5).train()
    twin.load_state_dict(algorithm.state_dict())
    for unit in twin.mutator.units.values():
        unit.op.mask.fill_(1)
    for i in range(2):
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(i))
        (twin.architecture(x, [0, 1, 2, 3], mode='loss')['loss'] / 2).backward()
    op = twin.architecture.backbone.conv1
    expected = (op.weight * op.weight.grad).abs().flatten(1).mean(1)
    torch.testing.assert_close(first.op.evidence, expected.detach(), rtol=1e-4, atol=1e-8)


def test_all_channels_in_one_ranking():
    algorithm = magnitude(dict(TINY, width=10), ranking='global')
    first, second = algorithm.mutator.units.values()
    with torch.no_grad():
        first.op.weight.copy_(10 + torch.rand_like(first.op.weight))
        second.op.weight.copy_(torch.rand_like(second.op.weight))
        second.op.weight[:8] += 20
    algorithm.tick(Clock(0, 0, 1, 10, True))
    # 15 of 30: the eight large ones, and seven of those in the middle.
    assert (first.width, second.width) == (7, 8)
    assert algorithm.mutator.choice_template == {first.name: 0.7, second.name: 0.4}
    static = to_static(algorithm)
    assert (static.backbone.conv1.out_channels, static.backbone.conv2.out_channels) == (7, 8)


def test_no_layer_vanishes_and_whole_layers_stay_whole():
    algorithm = magnitude(dict(TINY, width=10), ranking='global', ratio=0.4)
    first, second = algorithm.mutator.units.values()
    with torch.no_grad():
        first.op.weight.add_(10)
    algorithm.tick(Clock(0, 0, 1, 10, True))
    assert (first.width, second.width) == (10, 2)
    assert to_static(algorithm).backbone.conv1.out_channels == 10


def test_a_ranking_that_was_not_made():
    with pytest.raises(CompressionError, match="ranking is 'global'"):
        to_static(magnitude(ranking='global'))


def test_untrained_widths_are_known():
    """What tools show of a config."""
    static = to_static(magnitude())
    assert (static.backbone.conv1.out_channels, static.backbone.conv2.out_channels) == (4, 8)


def test_a_budget():
    algorithm = magnitude(dict(TINY, width=16), ratio=None, budget=dict(macs=0.5))
    algorithm.tick(Clock(0, 0, 1, 10, True))
    dense = sum(p.numel() for p in MODELS.build(dict(TINY, width=16)).parameters())
    assert sum(p.numel() for p in to_static(algorithm).parameters()) < dense


def test_written_and_rebuilt(tmp_path, classifier_cfg, random_norms):
    cfg = Config(dict(model=config(classifier_cfg(), steps=2)))
    algorithm = random_norms(MODELS.build(copy.deepcopy(cfg.model)))
    with pytest.raises(CompressionError, match='0 of 2 pruning steps are over'):
        export(algorithm, cfg, tmp_path / 'early')
    for iteration in (0, 5):
        algorithm.tick(Clock(0, iteration, 1, 10, iteration == 0))
    result = export(algorithm, cfg, tmp_path / 'out')
    assert result['max_difference'] < 1e-5


WRONG = {
    'criterion': (dict(criterion='l3'), "criterion is 'l3'.*nearest.*'l1'"),
    'steps': (dict(steps=0), 'steps is 0'),
    'begin': (dict(begin=1.0), 'begin is 1.0'),
    'end': (dict(steps=2, begin=0.6), 'end is 0.5.*begin, 0.6'),
    'schedule': (dict(schedule='cube'), "schedule is 'cube'.*'cubic'"),
    'ranking': (dict(ranking='all'), "ranking is 'all'"),
    'seed': (dict(seed=0.5), 'seed is 0.5'),
    'taylor': (dict(criterion='taylor'), "begin is 0.0.*criterion='taylor'"),
    'by_rank': (dict(mutator_cfg=dict(by_rank=True)), 'mutator_cfg.*by_rank'),
    'global': (dict(ranking='global', ratio={'*': 0.5}), 'target_pruning_ratio is .*one number'),
    'budget': (dict(ranking='global', ratio=None, budget=dict(macs=0.5)), 'budget is'),
}  # fmt: skip


@pytest.mark.parametrize('name', WRONG)
def test_errors(name):
    options, says = WRONG[name]
    with pytest.raises(CompressionError, match=says):
        magnitude(**options)


def test_a_checkpoint_of_more_steps():
    algorithm = magnitude(steps=3)
    algorithm.steps_done.fill_(3)
    other = magnitude(steps=2)
    other.load_state_dict(algorithm.state_dict())
    with pytest.raises(CompressionError, match='steps is 2, but 3'):
        other.settle()
