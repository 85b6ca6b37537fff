"""mmcompress/api.py: compress any model, train it in a loop of one's own, export it, load it."""

import copy

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

import mmcompress
from mmcompress.core import Clock, CompressionError
from mmcompress.core.base.op import Op
from mmcompress.core.probe.example import Example

METHODS = ['dcff', 'fcf', 'magnitude', 'filter_basis', 'shared_basis', 'linear_conv']
#: Of TinyNet, which is one stage, and too small for the schedules of real training.
OPTIONS = dict(
    fcf=dict(rho=0.1, mu=1.1),
    magnitude=dict(steps=3, begin=0.2, end=0.7, criterion='taylor'),
    filter_basis=dict(init='svd', reconstruction=0.5),
    shared_basis=dict(mutator_cfg=dict(parse_cfg=dict(rule='layer'))),
    linear_conv=dict(loss_interval=3),
)

#: A U-Net has one block a stage, and its last layer too few filters for some to be combined.
UNETS = dict(
    shared_basis=dict(mutator_cfg=dict(parse_cfg=dict(rule='network'))),
    linear_conv=dict(exclude='classify'),
)


def double(inputs, outputs):
    layers = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Of a user who knows neither mmengine nor us."""

    def __init__(self, classes=2, widths=(16, 32, 48)):
        super().__init__()
        a, b, c = widths
        self.down1, self.down2, self.bottom = double(1, a), double(a, b), double(b, c)
        self.up2, self.join2 = nn.ConvTranspose2d(c, b, 2, 2), double(2 * b, b)
        self.up1, self.join1 = nn.ConvTranspose2d(b, a, 2, 2), double(2 * a, a)
        self.classify = nn.Conv2d(a, classes, 1)

    def forward(self, image):
        high = self.down1(image)
        low = self.down2(nn.functional.max_pool2d(high, 2))
        maps = self.bottom(nn.functional.max_pool2d(low, 2))
        maps = self.join2(torch.cat([self.up2(maps), low], 1))
        return self.classify(self.join1(torch.cat([self.up1(maps), high], 1)))


NETWORKS = dict(
    unet=(UNet, (2, 1, 16, 16)),
    resnet=(lambda: ResNet(BasicBlock, [1, 2, 1, 1], num_classes=4), (2, 3, 32, 32)),
)


def train(model, images, steps, lr=0.01):
    """The loop that the documentation shows, on made-up targets."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    model.step_hooks(optimizer, epochs=steps, steps_per_epoch=1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(images).square().mean() + sum(model.losses().values())
        loss.backward()
        optimizer.step()


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize('network', NETWORKS)
@pytest.mark.parametrize('method', METHODS)
def test_trained_in_a_loop_exported_and_loaded(method, network, random_norms, tmp_path):
    make, shape = NETWORKS[network]
    dense, images = random_norms(make()), torch.randn(shape)
    before = copy.deepcopy(dense.state_dict())
    options = UNETS.get(method, {}) if network == 'unet' else {}
    model = mmcompress.compress(dense, method, images, target_pruning_ratio=0.5, **options)
    torch.testing.assert_close(dense.state_dict(), before, rtol=0, atol=0)
    assert model.training
    train(model, images, 5)
    if method == 'fcf':
        with pytest.raises(CompressionError, match='next_stage'):
            mmcompress.export(model, tmp_path / 'out')
        model.next_stage()
        train(model, images, 1)
    static = mmcompress.export(model, tmp_path / 'out')
    assert type(static) is type(dense)
    assert not any(isinstance(module, Op) for module in static.modules())
    assert {file.name for file in (tmp_path / 'out').iterdir()} == {
        'compact.pth',
        'fix_subnet.json',
    }
    stored = torch.load(tmp_path / 'out' / 'compact.pth', weights_only=True)
    numbers = sum(tensor.numel() for tensor in stored['state_dict'].values())
    # Shared basis leaves the first blocks of stages alone.
    assert numbers < (0.98 if method == 'shared_basis' else 0.75) * size(dense)
    fresh = make().eval()
    loaded = mmcompress.load(tmp_path / 'out', fresh)
    with torch.no_grad():
        assert torch.equal(loaded(images), static(images))
        expected = model.eval()(images)
        gap = (static(images) - expected).abs().max()
        assert gap < 1e-5 * max(1, float(expected.abs().max()))
        # Not the network that it was made of.
        assert (static(images) - dense.eval()(images)).abs().max() > 1e-3
    assert size(fresh) == size(dense)


class Recorder(Hook):
    """What a runner's training consists of."""

    def __init__(self):
        self.steps = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        lr = runner.optim_wrapper.get_lr()['lr'][0]
        self.steps.append((copy.deepcopy(data_batch), lr))


def runners(make_runner, model, epochs):
    """The weights after a runner's training, and its batches and learning rates."""
    runner = make_runner(model, epochs, seed=0, hooks=['CompressionHook'], validate=False)
    recorder = Recorder()
    runner.register_hook(recorder, 'LOWEST')
    runner.train()
    return runner.model.state_dict(), recorder.steps


def replay(model, optimizer, steps):
    for batch, lr in steps:
        optimizer.param_groups[0]['lr'] = lr
        losses = model(**model.data_preprocessor(copy.deepcopy(batch), True), mode='loss')
        loss, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def hooked(model, epochs):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.step_hooks(optimizer, epochs=epochs, steps_per_epoch=4)
    return optimizer


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    different = [key for key in state if not torch.equal(state[key], expected[key])]
    assert [key for key in different if key != '_steps.done'] == []


def tiny():
    return MODELS.build(dict(type='mmengine.TinyNet', width=16))


@pytest.mark.parametrize('method', METHODS)
def test_a_loop_equals_the_runner_also_when_it_is_resumed(method, make_runner, tmp_path):
    """Bit for bit, for what acts around steps and at epochs; from a plain checkpoint."""

    def build():
        options = copy.deepcopy(OPTIONS.get(method, {}))
        images = torch.zeros(2, 3, 8, 8)
        return mmcompress.compress(tiny(), method, images, target_pruning_ratio=0.5, **options)

    model = build()
    expected, steps = runners(make_runner, model, 3)
    assert len(steps) == 12
    optimizer = hooked(model, 3)
    replay(model, optimizer, steps[:5])
    torch.save((model.state_dict(), optimizer.state_dict()), tmp_path / 'resume.pth')
    states = torch.load(tmp_path / 'resume.pth', weights_only=True)
    resumed = build()
    resumed.load_state_dict(states[0])
    optimizer = hooked(resumed, 3)
    optimizer.load_state_dict(states[1])
    replay(resumed, optimizer, steps[5:])
    assert_same(resumed.state_dict(), expected)
    assert int(resumed.state_dict()['_steps.done']) == 12
    # Loading once everything acts is no different.
    late = build()
    optimizer = hooked(late, 3)
    optimizer.load_state_dict(torch.load(tmp_path / 'resume.pth', weights_only=True)[1])
    late.load_state_dict(states[0])
    replay(late, optimizer, steps[5:])
    assert_same(late.state_dict(), expected)


def test_the_second_stage_equals_the_runner(make_runner):
    def build(**options):
        return mmcompress.compress(tiny(), 'fcf', target_pruning_ratio=0.5, **options)

    first = build(rho=0.1, mu=1.1)
    _, steps = runners(make_runner, first, 2)
    replay(first, hooked(first, 2), steps)
    second = build(stage='finetune', rho=0.1, mu=1.1)
    second.load_state_dict(first.state_dict())
    expected, steps = runners(make_runner, second, 1)
    first.next_stage()
    assert int(first.state_dict()['_steps.done']) == 0
    replay(first, hooked(first, 1), steps)
    assert_same(first.state_dict(), expected)
    with pytest.raises(CompressionError, match='FCF has no further stage'):
        first.next_stage()


class Watched(nn.Module):
    """Two images and a scale by name; keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 16, 3), nn.Conv2d(1, 16, 3)
        self.last = nn.Conv2d(16, 2, 1)

    def forward(self, image, depth=None, *, options=None):
        if isinstance(image, list):
            image, depth = image
        return dict(out=self.last((self.one(image) + self.other(depth)).relu()) * options['scale'])


A, B, SCALE = torch.randn(1, 3, 9, 9), torch.randn(1, 1, 9, 9), dict(scale=torch.tensor(2.0))


@pytest.mark.parametrize(
    'inputs',
    [
        dict(image=A, depth=B, options=SCALE),
        dict(image=[A, B], options=SCALE),
    ],
    ids=['dict', 'list in a dict'],
)
@pytest.mark.parametrize('budget', [None, dict(params=0.6)], ids=['ratio', 'budget'])
def test_inputs_by_name(inputs, budget, tmp_path):
    ratio = None if budget else 0.5
    model = mmcompress.compress(
        Watched(), 'magnitude', inputs, budget=budget, target_pruning_ratio=ratio
    )
    # What is added to each other goes together.
    assert list(model.mutator.units) == ['one_(0, 16)_16']
    with pytest.raises(CompressionError, match='steps'):
        mmcompress.export(model, tmp_path / 'out')


def test_several_inputs_and_a_budget_of_macs(tmp_path):
    class Both(Watched):
        def forward(self, image, depth):
            return super().forward(image, depth, options=SCALE)

    model = mmcompress.compress(Both(), 'dcff', (A, B), budget=dict(macs=0.5))
    macs = dict(dense=(3 * 9 + 9 + 2) * 16)
    width = round(model.mutator.units['one_(0, 16)_16'].width)
    assert width == 8, macs
    model(A, B)
    static = mmcompress.export(model, tmp_path / 'out')
    assert static.one.out_channels == static.other.out_channels == static.last.in_channels == 8
    loaded = mmcompress.load(str(tmp_path / 'out'), Both())
    assert loaded.training
    torch.testing.assert_close(loaded.eval()(A, B), static(A, B), rtol=0, atol=0)


def test_a_model_that_names_what_it_is_given():
    with pytest.raises(CompressionError, match='example_inputs.*Watched.*TypeError'):
        mmcompress.compress(Watched(), 'dcff', A, target_pruning_ratio=0.5)
    with pytest.raises(CompressionError, match="example_inputs is 'images'"):
        mmcompress.compress(Watched(), 'dcff', 'images', target_pruning_ratio=0.5)


def test_zeros_are_no_example():
    assert Example(torch.zeros(2, 3)).images.abs().min() > 0
    assert torch.equal(Example((torch.zeros(3, dtype=torch.long), B)).images, B)


def test_include_and_exclude():
    names = dict(include=['down*', 'bottom'], exclude='down1')
    model = mmcompress.compress(UNet(), 'dcff', target_pruning_ratio=0.5, **names)
    assert {name.split('.')[0] for name in model.mutator.units} == {'down2', 'bottom'}


@pytest.mark.parametrize(
    ('key', 'arguments'),
    [
        ('model', dict(model='resnet50')),
        ("method is 'fcff'.*fcf", dict(method='fcff')),
        ('includ', dict(includ='down1')),
        ("include.*'dwn1'", dict(include='dwn1')),
        ('target_pruning_ratio is 2', dict(target_pruning_ratio=2)),
        ('mutator_cfg', dict(mutator_cfg=3)),
        ('include', dict(include='down1', mutator_cfg=dict(parse_cfg=dict(include='down1')))),
    ],
)
def test_wrong_arguments(key, arguments):
    arguments = dict(dict(model=UNet(), target_pruning_ratio=0.5), **arguments)
    with pytest.raises(CompressionError, match=key) as error:
        mmcompress.compress(**arguments)
    assert len(str(error.value)) < 400


def test_what_is_no_compressed_model(tmp_path):
    with pytest.raises(CompressionError, match='model is a UNet.*mmcompress.compress'):
        mmcompress.export(UNet(), tmp_path / 'out')
    model = mmcompress.compress(UNet(), 'dcff', target_pruning_ratio=0.5)
    with pytest.raises(CompressionError, match='model is a DCFF'):
        mmcompress.compress(model)
    train(model, torch.randn(1, 1, 16, 16), 1)
    mmcompress.export(model, tmp_path / 'out', fold_bn=True, dtype='float16')
    with pytest.raises(CompressionError, match='already holds'):
        mmcompress.export(model, tmp_path / 'out')
    mmcompress.export(model, tmp_path / 'out', overwrite=True)
    with pytest.raises(CompressionError, match='classify.*not'):
        mmcompress.load(tmp_path / 'out', UNet(classes=5))
    with pytest.raises(CompressionError, match='model is a DCFF'):
        mmcompress.load(tmp_path / 'out', model)
    with pytest.raises(CompressionError, match='nowhere'):
        mmcompress.load(tmp_path / 'nowhere', UNet())


# Steps


class Clocked:
    """A small algorithm that writes down when it is called."""

    def __new__(cls):
        model = mmcompress.compress(UNet(), 'dcff', target_pruning_ratio=0.5)
        model.calls, start = [], model.start
        model.start = lambda wrapper: (model.calls.append(wrapper.optimizer), start(wrapper))
        model.tick = model.calls.append
        return model


IMAGE = torch.randn(1, 1, 8, 8)


def test_steps_are_those_of_the_optimizer():
    model = Clocked()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    class Wrapper:  # as those of Lightning and Accelerate
        def __init__(self, optimizer):
            self.optimizer = optimizer

    steps = model.step_hooks(Wrapper(optimizer), epochs=2, steps_per_epoch=2)
    model.eval()(IMAGE)
    assert model.calls == []
    model.train()
    averaged = torch.optim.swa_utils.AveragedModel(model)
    averaged(IMAGE)
    assert model.calls == []
    for _ in range(5):
        for _ in range(2):  # two batches a step
            model(IMAGE).sum().backward()
        optimizer.step()
    model(IMAGE)
    ticks = [Clock(i // 2, i, 2, 4, i % 2 == 0) for i in range(4)]
    assert model.calls == [optimizer, *ticks]
    assert int(model.state_dict()['_steps.done']) == 5
    steps.remove()
    model(IMAGE)
    optimizer.step()
    assert int(steps.done) == 5


@pytest.mark.parametrize(('method', 'refused'), [('linear_conv', False), ('fcf', True)])
def test_a_closure_is_no_place_for_gradients_that_a_method_changes(method, refused):
    """Lightning's automatic optimization runs the model inside of ``optimizer.step``."""
    options = UNETS.get(method, {})
    model = mmcompress.compress(UNet(), method, target_pruning_ratio=0.5, **options)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.step_hooks(optimizer, epochs=1, steps_per_epoch=2)

    def closure():
        optimizer.zero_grad()
        loss = model(IMAGE).sum()
        loss.backward()
        return loss

    if refused:
        with pytest.raises(CompressionError, match='optimizer.step was given a closure'):
            optimizer.step(closure)
    else:
        optimizer.step(closure)
        assert int(model.state_dict()['_steps.done']) == 1


@pytest.mark.parametrize(
    ('key', 'arguments'),
    [
        ('epochs is 0', dict(epochs=0)),
        ('steps_per_epoch is 2.5', dict(steps_per_epoch=2.5)),
        ('optimizer is a str', dict(optimizer='SGD')),
    ],
)
def test_wrong_steps(key, arguments):
    model = mmcompress.compress(UNet(), 'dcff', target_pruning_ratio=0.5)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    given = dict(dict(optimizer=optimizer, epochs=1, steps_per_epoch=1), **arguments)
    with pytest.raises(CompressionError, match=key):
        model.step_hooks(**given)
