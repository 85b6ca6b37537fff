"""methods/fcf/algorithm.py: training against a transcription of Algorithm 1, rounding, stages."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import Clock, CompressionError
from mmcompress.core.base import pretrained as frozen
from mmcompress.core.export.export import export
from mmcompress.methods.fcf import FCF, FactorizedConv2d
from mmcompress.methods.fcf import algorithm as source

TINY = dict(type='TinyNet', width=4)


@MODELS.register_module(force=True)
class TinyResidual(BaseModel):
    """Stem, one basic block, linear head."""

    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = nn.ModuleDict(
            dict(
                stem=nn.Conv2d(3, 6, 3, bias=False),
                bn0=nn.BatchNorm2d(6),
                conv1=nn.Conv2d(6, 4, 3, padding=1, bias=False),
                bn1=nn.BatchNorm2d(4),
                conv2=nn.Conv2d(4, 6, 3, padding=1, bias=False),
                bn2=nn.BatchNorm2d(6),
            )
        )
        self.head = nn.Linear(6, 4)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if isinstance(inputs, list):
            inputs = torch.stack(inputs)
        b = self.backbone
        x = b['bn0'](b['stem'](inputs)).relu()
        x = (x + b['bn2'](b['conv2'](b['bn1'](b['conv1'](x)).relu()))).relu()
        logits = self.head(x.mean((2, 3)))
        if mode == 'loss':
            return dict(loss=F.cross_entropy(logits, torch.as_tensor(data_samples)))
        return logits if mode == 'tensor' else list(logits)


def fcf(architecture='TinyResidual', scope='filter', widths='identical', ratio=0.5, **kwargs):
    if isinstance(architecture, str):
        architecture = dict(type=architecture)
    mutator = dict(type='FCFMutator', scope=scope, widths=widths, skip=['*stem*'])
    if architecture['type'] != 'TinyResidual':
        mutator.pop('skip')
    cfg = dict(type='mmcompress.FCF', architecture=architecture, mutator_cfg=mutator)
    return MODELS.build(dict(cfg, target_pruning_ratio=ratio, **kwargs))


def train(algorithm, wrapper, batches):
    algorithm.start(wrapper)
    for i, batch in enumerate(batches):
        algorithm.tick(Clock(0, i, 1, len(batches), i == 0))
        algorithm.train_step(batch, wrapper)


def batches(count, dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    return [
        dict(
            inputs=torch.randn(6, 3, 7, 7, generator=generator, dtype=dtype),
            data_samples=[0, 1, 2, 3, 0, 1],
        )
        for _ in range(count)
    ]


# A transcription of Li et al. (CVPR 2019), Algorithm 1, that shares no code with the package.


def capped_simplex(x, k):
    low, high = x.min() - 1, x.max()
    for _ in range(200):
        tau = (low + high) / 2
        low, high = (tau, high) if (x - tau).clamp(0, 1).sum() > k else (low, tau)
    return (x - high).clamp(0, 1)


def literal_loss(p, batch, scope):
    def bn(x, name):
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
        x = (x - mean) / (var + 1e-5).sqrt()
        return x * p[f'{name}.weight'].view(1, -1, 1, 1) + p[f'{name}.bias'].view(1, -1, 1, 1)

    def v(name):
        return p[name].view(1, -1, 1, 1)

    x = bn(F.conv2d(batch['inputs'], p['stem.weight']), 'bn0')
    x = (x * v('v2') if scope == 'unit' else x).relu()
    y = (v('v1') * bn(F.conv2d(x, p['conv1.weight'], padding=1), 'bn1')).relu()
    y = v('v2') * bn(F.conv2d(y, p['conv2.weight'], padding=1), 'bn2')
    x = (x + y).relu().mean((2, 3)) @ p['head.weight'].T + p['head.bias']
    return F.cross_entropy(x, torch.tensor(batch['data_samples']))


class Literal:
    def __init__(self, dense, scope, widths, setting):
        self.p = {
            name.removeprefix('backbone.'): t.detach().double().clone().requires_grad_()
            for name, t in dense.named_parameters()
        }
        for name, n in (('v1', 4), ('v2', 6)):
            self.p[name] = torch.ones(n, dtype=torch.float64, requires_grad=True)
        self.k = dict(zip(('v1', 'v2'), widths, strict=True))
        self.y1 = {name: torch.zeros_like(self.p[name].detach()) for name in self.k}
        self.y2 = copy.deepcopy(self.y1)
        self.z1, self.z2 = {}, {}
        self.scope, self.rho = scope, setting['rho']
        self.buffers = {}

    def step(self, group, setting, lr, momentum, decay, max_norm):
        """One step of the optimizer, on the mean loss of a group of batches."""
        loss = sum(literal_loss(self.p, batch, self.scope) for batch in group) / len(group)
        names = list(self.p)
        grads = dict(zip(names, torch.autograd.grad(loss, [self.p[n] for n in names]), strict=True))
        if max_norm:
            norm = torch.cat([g.flatten() for g in grads.values()]).norm()
            assert norm > max_norm, 'nothing is clipped'
            grads = {n: g * (max_norm / (norm + 1e-6)) for n, g in grads.items()}
        rho, alpha = self.rho, setting['alpha']
        for name, k in self.k.items():
            v = self.p[name].detach()
            self.z1[name] = capped_simplex(v + self.y1[name] / rho, k)
            x = v + self.y2[name] / rho
            self.z2[name] = 0.5 + len(v) ** 0.5 / 2 * (x - 0.5) / (x - 0.5).norm()
            g = self.y1[name] + self.y2[name] + rho * (2 * v - self.z1[name] - self.z2[name])
            grads[name] = alpha * g + (1 - alpha) * grads[name]
        with torch.no_grad():
            for name, p in self.p.items():
                g = grads[name] + (0 if name in self.k else decay) * p
                self.buffers[name] = momentum * self.buffers.get(name, 0) + g
                p -= lr * self.buffers[name]
        for name in self.k:
            v = self.p[name].detach()
            self.y1[name] = self.y1[name] + rho * (v - self.z1[name])
            self.y2[name] = self.y2[name] + rho * (v - self.z2[name])
        if self.rho < setting['rho_max']:
            self.rho *= setting['mu']


SETTING = dict(rho=0.2, rho_max=0.25, mu=1.1, alpha=0.7)


@pytest.mark.parametrize('scope', ['filter', 'unit'])
@pytest.mark.parametrize(
    'recipe',
    [dict(), dict(momentum=0.9, decay=0.1), dict(count=2, max_norm=0.05, decay=0.1)],
    ids=['plain', 'momentum and decay', 'accumulated and clipped'],
)
def test_training_as_it_is_written(scope, recipe):
    momentum, decay = recipe.get('momentum', 0), recipe.get('decay', 0)
    count, max_norm = recipe.get('count', 1), recipe.get('max_norm')
    algorithm = fcf(scope=scope, **SETTING).double().train()
    dense = MODELS.build(dict(type='TinyResidual')).double()
    algorithm.load_state_dict(dense.state_dict(), strict=False)
    literal = Literal(dense, scope, (2, 3), SETTING)
    wrapper = OptimWrapper(
        torch.optim.SGD(algorithm.parameters(), lr=0.1, momentum=momentum, weight_decay=decay),
        accumulative_counts=count,
        clip_grad=dict(max_norm=max_norm) if max_norm else None,
    )
    data = batches(6 * count)
    train(algorithm, wrapper, data)
    for i in range(0, len(data), count):
        literal.step(data[i : i + count], SETTING, 0.1, momentum, decay, max_norm)
    close = dict(rtol=0, atol=1e-8)
    backbone = algorithm.architecture.backbone
    order = [u.config.producers[0].name for u in algorithm.mutator.units.values()]
    rows = ['v1' if name == 'backbone.conv1' else 'v2' for name in order]
    assert sorted(rows) == ['v1', 'v2']
    for row, v, unit in zip(rows, algorithm.scalars, algorithm.mutator.units.values(), strict=True):
        torch.testing.assert_close(v.detach(), literal.p[row].detach(), **close)
        assert (v - 1).abs().max() > 0.05
        assert unit.width == literal.k[row]
    for name in ('y1', 'y2', 'z1', 'z2'):
        expected = torch.cat([getattr(literal, name)[row] for row in rows])
        found = algorithm.admm.unpad(getattr(algorithm.admm, name), [len(expected)])[0]
        torch.testing.assert_close(found, expected, **close)
    assert float(algorithm.admm.rho) == pytest.approx(literal.rho, rel=1e-12)
    assert float(algorithm.admm.rho) == pytest.approx(0.2 * 1.1**3)
    for name in ('stem', 'conv1', 'conv2'):
        expected = literal.p[f'{name}.weight'].detach()
        torch.testing.assert_close(backbone[name].weight.detach(), expected, **close)
    for i in range(3):
        expected = literal.p[f'bn{i}.bias'].detach()
        norm = getattr(backbone[f'bn{i}'], 'norm', backbone[f'bn{i}'])
        torch.testing.assert_close(norm.bias.detach(), expected, **close)


class Scaled(OptimWrapper):
    """What ``AmpOptimWrapper`` does, which needs a GPU; the scaler is the same."""

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.scaler = torch.amp.GradScaler('cpu', init_scale=scale)

    def backward(self, loss, **kwargs):
        self.scaler.scale(loss).backward()

    def step(self, **kwargs):
        self.scaler.step(self.optimizer)
        self.scaler.update()


def test_scaled_losses_train_the_same_scalars():
    states = []
    for scale in (1.0, 2.0**16):
        torch.manual_seed(1)
        algorithm = fcf(**SETTING)
        wrapper = Scaled(scale, optimizer=torch.optim.SGD(algorithm.parameters(), lr=0.1))
        train(algorithm, wrapper, batches(4, torch.float32))
        states.append(algorithm.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=1e-4, atol=1e-5, msg=key)


def test_a_step_that_amp_skips_leaves_everything():
    algorithm = fcf(**SETTING)
    wrapper = Scaled(2.0, optimizer=torch.optim.SGD(algorithm.parameters(), lr=0.1))
    first, second = batches(2, torch.float32)
    train(algorithm, wrapper, [first])
    names = [n for n in algorithm.state_dict() if n.startswith('admm.') or n.endswith('.v')]
    assert len(names) == 8
    before = {n: algorithm.state_dict()[n].clone() for n in names}
    bad = dict(second, inputs=second['inputs'] * torch.inf)
    algorithm.train_step(bad, wrapper)
    for name in names:
        assert torch.equal(algorithm.state_dict()[name], before[name]), name
    assert wrapper.scaler.get_scale() == 1.0


@pytest.mark.parametrize('name', ['SGD', 'AdamW'])
def test_weight_decay_never_touches_scalars(name):
    """Weights decay only where the loss tells v nothing about it: alpha is 1."""
    results = []
    for decay in (0.0, 0.3):
        torch.manual_seed(2)
        algorithm = fcf(**dict(SETTING, alpha=1.0))
        optimizer = getattr(torch.optim, name)(algorithm.parameters(), lr=0.05, weight_decay=decay)
        settings = copy.deepcopy(optimizer.state_dict()['param_groups'])
        train(algorithm, OptimWrapper(optimizer), batches(5, torch.float32))
        assert optimizer.state_dict()['param_groups'] == settings
        results.append(algorithm)
    one, other = results
    for v, w in zip(one.scalars, other.scalars, strict=True):
        assert torch.equal(v, w)
        assert not torch.equal(v, torch.ones_like(v))
    key = 'stem'
    assert not torch.allclose(
        one.architecture.backbone[key].weight, other.architecture.backbone[key].weight
    )


def test_scalars_without_a_gradient_are_driven_too():
    """Layers that a batch did not use."""
    algorithm = fcf(**SETTING)
    wrapper = OptimWrapper(torch.optim.SGD(algorithm.parameters(), lr=0.1))
    algorithm.start(wrapper)
    algorithm.architecture.head.weight.grad = torch.zeros(4, 6)
    wrapper.step()
    for v in algorithm.scalars:
        assert not torch.equal(v, torch.ones_like(v))


def pretrained(large):
    """A dense network in which as many filters of conv1 and conv2 are ten times as large."""
    dense = MODELS.build(dict(type='TinyResidual'))
    with torch.no_grad():
        for name, count in zip(('conv1', 'conv2'), large, strict=True):
            weight = dense.backbone[name].weight
            weight.uniform_(-0.01, 0.01)
            weight[-count:] = torch.rand_like(weight[-count:]) + 0.5
    return dense


@pytest.mark.parametrize(
    ('large', 'expected'),
    [
        ((2, 3), [2, 3]),
        ((1, 4), [1, 4]),
        ((3, 2), [3, 2]),
        ((4, 1), [3, 1]),  # at most 0.9 of 4
    ],
)
def test_widths_by_magnitude_are_of_the_loaded_weights(large, expected):
    algorithm = fcf(widths='magnitude')
    algorithm.load_state_dict(pretrained(large).state_dict(), strict=False)
    wrapper = OptimWrapper(torch.optim.SGD(algorithm.parameters(), lr=0.1))
    train(algorithm, wrapper, batches(2, torch.float32))
    units = {u.config.producers[0].name: u for u in algorithm.mutator.units.values()}
    widths = [units[f'backbone.{name}'].width for name in ('conv1', 'conv2')]
    assert widths == expected
    assert algorithm.mutator.choice_template[units['backbone.conv1'].name] == expected[0] / 4
    z1 = algorithm.admm.z1.sum(1)
    order = [unit.width for unit in algorithm.mutator.units.values()]
    torch.testing.assert_close(z1, torch.tensor(order, dtype=z1.dtype))
    # They stay, whatever becomes of the weights.
    again = fcf(widths='magnitude', stage='finetune')
    state = algorithm.state_dict()
    state['architecture.backbone.conv1.weight'] = torch.rand(4, 6, 3, 3)
    again.load_state_dict(state)
    again.settle()
    assert [u.width for u in again.mutator.units.values()] == order
    assert [int(v.sum()) for v in again.scalars] == order


@pytest.fixture
def messages(monkeypatch):
    found = []
    for module in (source, frozen):
        monkeypatch.setattr(module, 'print_log', lambda text, **_: found.append(text))
    return found


def factorized(**kwargs):
    """State of a first stage that is over, with scalars set by hand."""
    algorithm = fcf(**kwargs)
    algorithm.started.fill_(True)
    units = {u.config.producers[0].name: u for u in algorithm.mutator.units.values()}
    with torch.no_grad():
        units['backbone.conv1'].op.v.copy_(torch.tensor([0.55, 0.97, -0.1, 0.05]))
        units['backbone.conv2'].op.v.copy_(torch.tensor([1.01, 0, 0.99, 0.02, 0.6, 0.12]))
    return algorithm.state_dict()


def test_rounding(messages):
    algorithm = fcf(stage='finetune')
    algorithm.load_state_dict(factorized())
    backbone = algorithm.architecture.backbone
    assert backbone['conv1'].v.tolist() == pytest.approx([0.55, 0.97, -0.1, 0.05])
    assert not algorithm.binary, 'loading rounds nothing'
    algorithm.settle()
    assert backbone['conv1'].v.tolist() == [1, 1, 0, 0]
    assert backbone['conv2'].v.tolist() == [1, 0, 1, 0, 1, 0]
    assert algorithm.binary
    # 0.12 stays by the threshold, but not among the three largest.
    [message] = messages
    assert '1 filters would have been decided otherwise by the threshold 0.1' in message
    assert algorithm.progress() == {}
    algorithm.start(None)
    assert len(messages) == 1, 'rounded once'


@pytest.mark.parametrize('scope', ['filter', 'unit'])
def test_finetuning_leaves_removed_filters_at_zero(make_runner, scope):
    architecture = dict(type='TinyResidual')
    mutator = dict(type='FCFMutator', scope=scope, skip=['*stem*'])
    cfg = dict(
        type='mmcompress.FCF', architecture=architecture, mutator_cfg=mutator,
        target_pruning_ratio=0.5, stage='finetune',
    )  # fmt: skip
    algorithm = MODELS.build(cfg)
    first = MODELS.build(dict(cfg, stage='factorize'))
    first.started.fill_(True)
    for v in first.scalars:
        nn.init.uniform_(v)
    algorithm.load_state_dict(first.state_dict())
    algorithm.settle()
    before = copy.deepcopy(algorithm.state_dict())
    runner = make_runner(algorithm, 3, validate=False)
    runner.train()
    trained = runner.model
    for v, unit in zip(trained.scalars, trained.mutator.units.values(), strict=True):
        assert set(v.tolist()) == {0, 1}
        assert v.sum() == unit.width == len(v) // 2
        assert not v.requires_grad
    outputs = {}
    hooks = [
        module.register_forward_hook(lambda m, _, out, n=n: outputs.update({n: out}))
        for n, module in trained.architecture.backbone.items()
    ]
    for mode in (True, False):
        trained.train(mode)
        trained.architecture(torch.randn(3, 3, 8, 8))
        for conv, norm in (('conv1', 'bn1'), ('conv2', 'bn2')):
            v = trained.architecture.backbone[conv].scales
            assert not outputs[norm][:, v == 0].any()
            assert outputs[norm][:, v == 1].flatten(2).any(2).all()
    [hook.remove() for hook in hooks]
    after = trained.state_dict()
    for key, value in before.items():
        if key.endswith('.v') or key.startswith('admm.'):
            assert torch.equal(after[key], value), key
    weight, old = (s['architecture.backbone.conv1.weight'] for s in (after, before))
    kept = trained.architecture.backbone['conv1'].v == 1
    assert (weight != old).flatten(1).any(1)[kept].all()
    # Without weight decay, nothing moves the removed ones.
    assert torch.equal(weight[~kept], old[~kept])


@pytest.mark.parametrize('by_epoch', [True, False])
def test_a_resumed_first_stage_equals_an_uninterrupted_one(make_runner, by_epoch):
    cfg = dict(
        type='mmcompress.FCF', architecture=dict(TINY, dropout=0.5), target_pruning_ratio=0.5,
        mu=1.05,
    )  # fmt: skip
    length, stop = (3, 1) if by_epoch else (7, 3)
    states, resume = [], None
    for _ in range(2):
        runner = make_runner(cfg, length, by_epoch, resume=resume, seed=4)
        runner.train()
        name = 'epoch' if by_epoch else 'iter'
        folder = Path(runner.work_dir)
        states.append(torch.load(folder / f'{name}_{length}.pth')['state_dict'])
        resume = folder / f'{name}_{stop}.pth'
    whole, resumed = states
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
    steps = 12 if by_epoch else 7
    assert float(whole['admm.rho']) == pytest.approx(0.01 * 1.05**steps)
    assert whole['started']
    for name in ('y1', 'y2', 'z1', 'z2'):
        assert whole[f'admm.{name}'].any()


def test_scalars_come_to_zero_and_one():
    """On a loss that doesn't care, ADMM ends at exactly k ones."""
    algorithm = fcf(rho=0.05, rho_max=6, mu=1.05, alpha=0.99)
    wrapper = OptimWrapper(torch.optim.SGD(algorithm.parameters(), lr=0.1))
    train(algorithm, wrapper, batches(3, torch.float32) * 80)
    for v, unit in zip(algorithm.scalars, algorithm.mutator.units.values(), strict=True):
        assert (v - v.round()).abs().max() < 0.05
        assert int(v.round().sum()) == unit.width
    progress = algorithm.progress()
    assert progress['undecided_max'] < 0.1
    assert progress['removed'] == 5
    assert progress['filters'] == 10


def test_progress():
    algorithm = fcf()
    with torch.no_grad():
        for v, values in zip(
            sorted(algorithm.scalars, key=len),
            ([0.1, 0.6, -0.5, 1.4], [0.0, 1.0, 0.05, 0.8, 0.9, 0.11]),
            strict=True,
        ):
            v.copy_(torch.tensor(values))
        algorithm.admm.z1.fill_(0.5)
        algorithm.admm.z2.fill_(1.0)
    found = algorithm.progress()
    # Of four filters two stay, of six three: 0.6 against 0.1, and 0.8 against 0.11.
    assert found['undecided'] == pytest.approx((0.5 + 0.31) / 2, abs=1e-6)
    assert found['undecided_max'] == pytest.approx(0.5)
    assert found['residual_1'] == pytest.approx(1.0)
    assert found['residual_2'] == pytest.approx(1.5)
    assert found['rho'] == pytest.approx(0.01)
    assert (found['removed'], found['filters']) == (4, 10)
    assert len(found['histogram']) == 20
    assert sum(found['histogram']) == 10
    assert found['histogram'][0] == 1, 'scalars further out belong to the outermost bins'
    assert found['histogram'][-1] == 1


@pytest.mark.parametrize('norm_eval', [False, True])
def test_frozen_stages_are_trained(messages, norm_eval):
    algorithm = fcf(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(
                type='mmpretrain.ResNet', depth=18, stem_channels=4, base_channels=4,
                frozen_stages=2, norm_eval=norm_eval,
            ),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=32),
        )
    )  # fmt: skip
    algorithm.train()
    assert any('FCF trains all stages of backbone' in text for text in messages)
    backbone = algorithm.architecture.backbone
    assert all(p.requires_grad for p in backbone.parameters())
    assert backbone.bn1.training is not norm_eval
    assert backbone.layer1[0].bn1.norm.training is not norm_eval


def test_factorizing_what_is_binary_already():
    second = fcf(stage='finetune')
    second.load_state_dict(factorized())
    second.settle()
    first = fcf()
    first.load_state_dict(second.state_dict())
    wrapper = OptimWrapper(torch.optim.SGD(first.parameters(), lr=0.1))
    with pytest.raises(CompressionError, match='binary already; set stage="finetune"'):
        first.start(wrapper)


def test_finetuning_what_was_never_factorized():
    """All scalars are 1: the first k filters would stay, for no reason."""
    with pytest.raises(CompressionError, match='no checkpoint of stage="factorize" was loaded'):
        fcf(stage='finetune').start(None)
    dense = MODELS.build(dict(type='TinyResidual')).state_dict()
    with pytest.raises(CompressionError, match='no checkpoint of stage="factorize" was loaded'):
        algorithm = fcf(stage='finetune')
        algorithm.load_state_dict(dense, strict=False)
        algorithm.settle()


def test_stages_with_other_keep_ratios():
    with pytest.raises(CompressionError, match='is to keep 3 of 4 filters, but 2 in the loaded'):
        algorithm = fcf(stage='finetune', ratio=0.75)
        algorithm.load_state_dict(factorized())
        algorithm.settle()


def test_exporting_before_scalars_are_binary(tmp_path):
    algorithm = fcf()
    cfg = Config(dict(model=dict(architecture=dict(type='TinyResidual'))))
    with pytest.raises(CompressionError, match='FCF cannot be exported: its scalars are not bin'):
        export(algorithm, cfg, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(stage='train'), "stage is 'train'.*factorize, finetune"),
        (dict(rho='a'), "rho is 'a'; it has to be a number"),
        (dict(rho=True), 'rho is True; it has to be a number'),
        (dict(rho=0), 'rho is 0; it has to be above 0 and at most rho_max=6'),
        (dict(rho=7), 'rho is 7.*rho_max=6'),
        (dict(mu=0.9), 'mu is 0.9; it has to be at least 1'),
        (dict(alpha=1.1), 'alpha is 1.1; it has to be from 0 to 1'),
        (dict(alpha=None), 'alpha is None; it has to be a number'),
        (dict(rho=float('nan')), 'rho is nan'),
        (dict(mu=float('nan')), 'mu is nan'),
    ],
    ids=str,
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises(CompressionError, match=message):
        fcf(**kwargs)


def test_defaults_are_those_of_the_paper_but_mu():
    algorithm = MODELS.build(dict(type='mmcompress.FCF', architecture=TINY))
    assert type(algorithm) is FCF
    assert type(algorithm.mutator).__name__ == 'FCFMutator'
    admm = algorithm.admm
    assert (float(admm.rho), admm.rho_max, admm.mu, admm.alpha) == (0.01, 6.0, 1, 0.99)
    assert not any(key.startswith('mutator') for key in algorithm.state_dict())
    ops = [m for m in algorithm.modules() if isinstance(m, FactorizedConv2d)]
    assert len(ops) == len(algorithm.scalars) == 1


def test_a_copy_trains_on_its_own():
    algorithm = fcf(**SETTING)
    twin = copy.deepcopy(algorithm)
    wrapper = OptimWrapper(torch.optim.SGD(twin.parameters(), lr=0.1))
    train(twin, wrapper, batches(2, torch.float32))
    for v, w in zip(algorithm.scalars, twin.scalars, strict=True):
        assert torch.equal(v, torch.ones_like(v))
        assert not torch.equal(w, v)
    assert not algorithm.admm.y1.any()
    ops = [m for m in twin.modules() if isinstance(m, FactorizedConv2d)]
    assert [unit.op for unit in twin.mutator.units.values()] == ops


def wrapper_of(algorithm, lr):
    return OptimWrapper(torch.optim.SGD(algorithm.parameters(), lr=lr))


def test_a_learning_rate_with_which_scalars_diverge():
    algorithm = fcf(alpha=0.99, rho_max=6.0)
    with pytest.raises(CompressionError, match=r'2 \* lr \* alpha \* rho_max is 2\.38 .*lower lr'):
        algorithm.start(wrapper_of(algorithm, lr=0.2))


def test_a_learning_rate_with_which_scalars_hardly_move(messages):
    algorithm = fcf()
    algorithm.start(wrapper_of(algorithm, lr=1e-4))
    assert sum('may not become binary' in message for message in messages) == 1
    messages.clear()
    algorithm = fcf()
    algorithm.start(wrapper_of(algorithm, lr=0.1))
    assert not any('may not become binary' in message for message in messages)


def test_no_trained_network(messages):
    algorithm = fcf()
    algorithm.start(wrapper_of(algorithm, lr=0.1))
    assert sum('starts from random weights' in message for message in messages) == 1
    messages.clear()
    loaded = fcf()
    loaded.load_state_dict(algorithm.architecture.state_dict(), strict=False)
    loaded.start(wrapper_of(loaded, lr=0.1))
    assert not any('starts from random weights' in message for message in messages)


def test_rounding_what_has_diverged():
    algorithm = fcf()
    algorithm.scalars[0].data[1] = float('nan')
    with pytest.raises(CompressionError, match='not finite.*diverged'):
        algorithm.binarize()


def test_the_threshold_by_magnitude_may_be_exclusive():
    """Of ten filters five are above it, and the one at it goes."""
    widths = {}
    for threshold in ('inclusive', 'exclusive'):
        algorithm = MODELS.build(
            dict(
                type='mmcompress.FCF',
                architecture=dict(type='TinyResidual'),
                mutator_cfg=dict(
                    type='FCFMutator', widths='magnitude', threshold=threshold, skip=['*stem*']
                ),
                target_pruning_ratio=0.5,
            )
        )
        algorithm.load_state_dict(pretrained((3, 2)).state_dict(), strict=False)
        algorithm.start(OptimWrapper(torch.optim.SGD(algorithm.parameters(), lr=0.1)))
        widths[threshold] = sum(unit.width for unit in algorithm.mutator.units.values())
    assert widths == dict(inclusive=5, exclusive=4)
