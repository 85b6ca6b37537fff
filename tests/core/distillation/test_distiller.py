"""core/distillation/distiller.py: what is compared, and that the teacher stays outside."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.distillation.distiller import LOSS, Distiller
from mmcompress.core.distillation.losses import logits, pkd
from mmcompress.core.export.checkpoint import load_teacher

METHODS = ['DCFF', 'FCF', 'Magnitude', 'FilterBasis', 'SharedBasis', 'LinearConv']
BATCH = dict(inputs=torch.randn(4, 3, 8, 8), data_samples=[0, 1, 2, 3])


@pytest.fixture
def tiny_cfg():
    """Wide enough for every method."""
    return dict(type='mmengine.TinyNet', width=32)


@pytest.fixture
def dense(tiny_cfg, tmp_path):
    model = MODELS.build(tiny_cfg)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'dense.pth')
    return model.eval(), str(tmp_path / 'dense.pth')


def algorithm(tiny_cfg, method='FilterBasis', **distill):
    return MODELS.build(config(tiny_cfg, method, distill=distill)).train()


def config(tiny_cfg, method='FilterBasis', **options):
    if method in ('FilterBasis', 'SharedBasis'):
        options['target_pruning_ratio'] = 0.5
    if method == 'SharedBasis':
        options['mutator_cfg'] = dict(parse_cfg=dict(rule='layer'))
    return dict(type=f'mmcompress.{method}', architecture=tiny_cfg, **options)


@pytest.mark.parametrize('method', METHODS)
def test_the_loss_of_every_method(tiny_cfg, dense, method):
    """That of the logits, in the log by its name; its gradient reaches the compact network."""
    teacher, path = dense
    model = algorithm(tiny_cfg, method, teacher=path, temperature=2, weight=0.5)
    load_teacher(model)
    seen = []
    model.architecture.head.register_forward_hook(lambda _, __, out: seen.append(out))
    losses = model(**BATCH, mode='loss')
    with torch.no_grad():
        wanted = 0.5 * logits(seen[0], teacher(BATCH['inputs']), 2)
    torch.testing.assert_close(losses[LOSS], wanted)
    assert losses['loss'] > 0
    losses[LOSS].backward()
    grads = [p.grad for p in model.architecture.backbone.parameters() if p.grad is not None]
    assert any(grad.abs().sum() > 0 for grad in grads)


def test_the_teacher_is_no_part_of_the_algorithm(tiny_cfg, dense):
    _, path = dense
    plain = MODELS.build(config(tiny_cfg))
    model = algorithm(tiny_cfg, teacher=path)
    before = torch.get_rng_state()
    load_teacher(model)
    assert torch.equal(before, torch.get_rng_state())
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in plain.named_parameters()]
    teacher = model.distiller._teacher
    state = {k: v.clone() for k, v in teacher.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sum(model(**BATCH, mode='loss').values()).backward()
    optimizer.step()
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert copy.deepcopy(model).distiller._teacher is teacher


def test_nothing_is_compared_in_evaluation(tiny_cfg, dense):
    _, path = dense
    model = algorithm(tiny_cfg, teacher=path).eval()
    assert LOSS not in model(**BATCH, mode='loss')
    assert model(BATCH['inputs']).shape == (4, 4)


def test_features_by_name_and_a_teacher_that_runs_no_further(tiny_cfg, dense):
    teacher, path = dense
    model = algorithm(tiny_cfg, teacher=path, layers=['backbone'], weight=2.0)
    load_teacher(model)
    ran = []
    model.distiller._teacher.head.register_forward_hook(lambda *_: ran.append(1))
    seen = []
    model.architecture.backbone.register_forward_hook(lambda _, __, out: seen.append(out))
    loss = model(**BATCH, mode='loss')[LOSS]
    with torch.no_grad():
        wanted = teacher.backbone(BATCH['inputs'])
    torch.testing.assert_close(loss, 2 * pkd(seen[0], wanted))
    assert not ran


def test_a_loss_of_its_own_for_each_layer(tiny_cfg, dense):
    _, path = dense
    model = algorithm(tiny_cfg, teacher=path, layers=dict(backbone='cwd', head='l1'))
    load_teacher(model)
    model(**BATCH, mode='loss')
    assert model.distiller.layers == dict(backbone='cwd', head='l1')


def test_a_model_says_itself_what_is_compared(tiny_cfg, dense):
    _, path = dense
    model = algorithm(tiny_cfg, teacher=path)
    load_teacher(model)
    model.architecture.distilled = dict(backbone='l1')
    model(**BATCH, mode='loss')
    assert model.distiller.layers == dict(backbone='l1')


def test_a_layer_that_is_narrower_than_the_teachers(tiny_cfg, dense):
    _, path = dense
    model = MODELS.build(
        dict(
            type='mmcompress.DCFF', architecture=tiny_cfg, target_pruning_ratio=0.5,
            distill=dict(teacher=path, layers=['backbone']),
        )
    )  # fmt: skip
    load_teacher(model)
    with pytest.raises(CompressionError, match=r'distill\.layers.*backbone'):
        model.train()(**BATCH, mode='loss')


def test_half_precision(tiny_cfg, dense):
    _, path = dense
    model = algorithm(tiny_cfg, teacher=path)
    load_teacher(model)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model(**BATCH, mode='loss')
    assert losses[LOSS].dtype == torch.float32
    assert losses[LOSS].isfinite()


def test_a_loop_of_ones_own():
    """A model that is none of mmengine's teaches itself: the weights that it comes with."""
    import mmcompress

    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 16, 5),
    )  # fmt: skip
    images = torch.randn(4, 3, 8, 8)
    model = mmcompress.compress(net, 'magnitude', images, distill=True)
    out = model(images)
    net.eval()
    torch.testing.assert_close(model.losses()[LOSS], logits(out, net(images).detach(), 4))
    assert LOSS not in model.losses()  # of one forward pass, once


@pytest.mark.parametrize(
    ('settings', 'key'),
    [
        (3, 'distill is 3'),
        (dict(techer='x'), "'teacher'"),
        (dict(teacher=3), r'distill\.teacher is 3'),
        (dict(loss='kl'), r"distill\.loss is 'kl'"),
        (dict(weight=-1), r'distill\.weight is -1'),
        (dict(temperature=0), r'distill\.temperature is 0'),
        (dict(layers=['backbon']), "'backbone'"),
        (dict(layers=[]), r'distill\.layers is \[\]'),
        (dict(layers=dict(head='x')), r"distill\.layers\['head'\] is 'x'"),
    ],
)
def test_wrong_settings(tiny_cfg, settings, key):
    with pytest.raises(CompressionError, match=key):
        Distiller(settings, MODELS.build(tiny_cfg), lambda: None)


def test_no_teacher(tiny_cfg, tmp_path):
    with pytest.raises(CompressionError, match=r'distill\.teacher is missing'):
        load_teacher(algorithm(tiny_cfg))
    other = MODELS.build(dict(tiny_cfg, width=16))
    torch.save(other.state_dict(), tmp_path / 'other.pth')
    with pytest.raises(CompressionError, match='of another model'):
        load_teacher(algorithm(tiny_cfg, teacher=str(tmp_path / 'other.pth')))
