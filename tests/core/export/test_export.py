"""core/export.py: the static model equals the trained one, or nothing is written."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.export.export import (
    FILES,
    ONNX_FILE,
    _difference,
    compare,
    dense_config,
    export,
)
from mmcompress.core.export.sessions import session
from mmcompress.core.export.static import to_static
from mmcompress.core.layers.narrow import narrow
from mmcompress.core.layers.partial_add import add_partially
from mmcompress.methods.dcff import FusedConv2d


@pytest.fixture
def cfg(classifier_cfg):
    """A training config with everything that an export has to take over or leave out."""
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='mmcompress.DCFF',
                architecture=classifier_cfg(14),
                mutator_cfg=dict(type='DCFFMutator'),
                target_pruning_ratio=0.6,
            ),
            data_preprocessor=dict(
                type='ClsDataPreprocessor', num_classes=10, mean=[1.0] * 3, std=[2.0] * 3
            ),
            val_evaluator=dict(type='Accuracy'),
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=20),
                compression=dict(type='mmcompress.CompressionHook'),
                reseed=dict(type='mmcompress.ReseedHook'),
                visuals=dict(type='mmcompress.VisualsHook'),
            ),
            work_dir='work_dirs/x',
            load_from='y.pth',
            resume=True,
        )
    )


@pytest.fixture
def trained(cfg):
    """An algorithm whose weights and statistics are not those of the start."""
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model.fuse(3.0)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.1 * torch.rand_like(tensor))
    return model


def batch():
    from mmpretrain.structures import DataSample

    images = [torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8) for _ in range(2)]
    return dict(inputs=images, data_samples=[DataSample().set_gt_label(1) for _ in images])


def load(config):
    """The model of an exported config, as a user builds it."""
    cfg = Config.fromfile(config)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model.init_weights()
    return model.eval()


def test_the_rebuilt_model_equals_the_trained_one(trained, cfg, tmp_path):
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    trained.train()
    report = export(trained, cfg, tmp_path / 'deep' / 'out', [batch(), batch()])
    assert report['max_difference'] < 1e-5
    assert report['batches'] == 2
    assert [path.name for path in (tmp_path / 'deep').iterdir()] == ['out']
    assert {path.name for path in (tmp_path / 'deep' / 'out').iterdir()} == set(FILES)
    assert report['config'] == str(tmp_path / 'deep' / 'out' / 'compact.py')
    # The algorithm goes on as it was.
    assert trained.training
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in before.items())

    static = load(report['config'])
    trained.eval()
    x = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(static(x), trained(x), rtol=0, atol=1e-5)
    theirs = trained.val_step(batch())
    torch.manual_seed(1)
    data = batch()
    theirs = [s.pred_score for s in trained.val_step(data)]
    ours = [s.pred_score for s in static.val_step(data)]
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), rtol=0, atol=1e-5)


def test_folded_and_as_onnx(trained, cfg, tmp_path):
    out = tmp_path / 'out'
    report = export(trained, cfg, out, [batch()], fold_bn=True, onnx_shape=(3, 32, 32))
    assert report['max_difference'] < 1e-5
    assert {path.name for path in out.iterdir()} == {*FILES, ONNX_FILE, f'{ONNX_FILE}.md'}
    assert '`logits`' in (out / f'{ONNX_FILE}.md').read_text()
    static = load(report['config'])
    assert not any(isinstance(m, nn.BatchNorm2d) for m in static.modules())
    assert static.backbone.layer1[0].conv1.bias is not None
    x = torch.randn(3, 3, 32, 32)
    expected = trained.eval()(x)
    torch.testing.assert_close(static(x), expected, rtol=1e-5, atol=1e-5)
    onnx = torch.from_numpy(session(report['onnx'])(x)[0])
    torch.testing.assert_close(onnx, expected, rtol=1e-4, atol=1e-4)

    with pytest.raises(CompressionError, match=r'already holds .*compact\.onnx'):
        export(trained, cfg, out)
    # One of an earlier export must not stay beside the weights of this one.
    export(trained, cfg, out, overwrite=True)
    assert {path.name for path in out.iterdir()} == set(FILES)


@pytest.mark.parametrize('changed', [False, True])
def test_a_method_finishes_the_static_model(trained, cfg, tmp_path, monkeypatch, changed):
    """Channels that go when the ops are gone, from one side of a residual add only."""
    name, keep = 'backbone.layer2.1.bn2', torch.tensor([0, 3, 4, 11])
    norm = trained.architecture.get_submodule(name)
    gone = torch.ones(norm.num_features, dtype=torch.bool)
    gone[keep] = False
    with torch.no_grad():
        norm.weight[gone] = norm.bias[gone] = 0

    def finish(static):
        assert type(static.backbone.layer2[1].conv2) is nn.Conv2d
        narrow(static.backbone.layer2[1].conv2, out_keep=keep)
        narrow(static.get_submodule(name), keep)
        add_partially(static, {name: keep + changed}, {name: len(gone)})

    monkeypatch.setattr(trained.mutator, 'finish_static', finish)
    out = tmp_path / 'out'
    if changed:
        refuses(trained, cfg, tmp_path, 'nothing was written')
        return
    report = export(trained, cfg, out, [batch()], fold_bn=True, onnx_shape=(3, 32, 32))
    subnet = json.loads((out / 'fix_subnet.json').read_text())
    assert subnet['partial_adds'] == {name: dict(channels=4, of=len(gone))}
    static = load(report['config'])
    assert static.backbone.layer2[1].bn2_add.kept.tolist() == keep.tolist()
    x = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(static(x), trained.eval()(x), rtol=0, atol=1e-5)


def test_nothing_is_written_without_the_onnx_that_was_asked_for(trained, cfg, tmp_path):
    with pytest.raises(CompressionError, match='^onnx: ImageClassifier cannot be written'):
        export(trained, cfg, tmp_path / 'out', onnx_shape=(4, 32, 32))
    assert list(tmp_path.iterdir()) == []


def test_differences_as_a_share_of_large_outputs():
    one, other = torch.tensor([1000.0, 1.0]), torch.tensor([1000.0, 1.001])
    assert _difference(one, other) == pytest.approx(1e-3, rel=1e-3)
    assert _difference(one, other, relative=True) == pytest.approx(1e-6, rel=1e-3)
    assert _difference(one / 1e4, other / 1e4, relative=True) == pytest.approx(1e-7, rel=1e-3)
    assert _difference(one, other * torch.nan, relative=True) == float('inf')


@pytest.mark.parametrize('removes', [False, True])
def test_rounding_of_large_outputs(trained, cfg, tmp_path, monkeypatch, removes):
    """Only a method that removes channels on export may differ by the last bits."""
    with torch.no_grad():
        trained.architecture.head.fc.weight.mul_(1e4)

    def finish(static):
        static.head.fc.weight.data.mul_(1 + 1e-6)

    monkeypatch.setattr(trained.mutator, 'finish_static', finish)
    monkeypatch.setattr(trained.mutator, 'reorders_sums', removes)
    if removes:
        assert 0 < export(trained, cfg, tmp_path / 'out')['max_difference'] < 1e-5
    else:
        refuses(trained, cfg, tmp_path, 'differs from the trained one')


def test_only_plain_layers(trained, cfg, tmp_path):
    static = load(export(trained, cfg, tmp_path / 'out')['config'])
    homes = {type(module).__module__.split('.')[0] for module in static.modules()}
    assert homes <= {'torch', 'mmpretrain', 'mmengine', 'mmcompress'}
    ours = {type(m).__module__ for m in static.modules() if 'mmcompress' in type(m).__module__}
    assert all(name.startswith('mmcompress.models') for name in ours)
    assert type(static.backbone.layer1[0].conv1) is nn.Conv2d
    assert static.backbone.layer1[0].conv1.weight.shape == (9, 9, 3, 3)
    file = torch.load(tmp_path / 'out' / 'compact.pth', weights_only=True)
    assert set(file['state_dict']) == set(static.state_dict())
    assert not any('proxies' in key for key in file['state_dict'])


def test_the_folder_may_move(trained, cfg, tmp_path):
    export(trained, cfg, tmp_path / 'out')
    shutil.move(tmp_path / 'out', tmp_path / 'elsewhere')
    static = load(tmp_path / 'elsewhere' / 'compact.py')
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(static(x), trained.eval()(x), rtol=0, atol=1e-5)
    assert str(tmp_path / 'out') not in (tmp_path / 'elsewhere' / 'compact.py').read_text()


def test_the_config_of_the_static_model(trained, cfg, tmp_path):
    found = Config.fromfile(export(trained, cfg, tmp_path / 'out')['config'])
    # The dense layout, and two keys more.
    dense = Config(dict(model=dense_config(cfg))).model
    assert {key: found.model[key] for key in dense if key != 'init_cfg'} == {
        key: value for key, value in dense.items() if key != 'init_cfg'
    }
    assert set(found.model) - set(dense) == {'_scope_', 'fix_subnet', 'init_cfg'} - set(dense)
    # Those that only training has a use for are gone.
    assert set(found.default_hooks) == {'logger', 'visuals'}
    assert found.val_evaluator == dict(type='Accuracy')
    assert found.custom_imports.imports == ['mmcompress']
    assert not {'work_dir', 'load_from', 'resume'} & set(found)
    assert cfg.model.type == 'mmcompress.DCFF'
    assert dense_config(cfg)['type'] == 'mmpretrain.ImageClassifier'


def test_earlier_files_are_not_replaced_unasked(trained, cfg, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'compact.pth').write_text('precious')
    (out / 'other.txt').write_text('kept')
    with pytest.raises(CompressionError, match=r'already holds compact\.pth.*--overwrite'):
        export(trained, cfg, out)
    assert (out / 'compact.pth').read_text() == 'precious'
    assert len(list(out.iterdir())) == 2
    export(trained, cfg, out, overwrite=True)
    assert {path.name for path in out.iterdir()} == {*FILES, 'other.txt'}
    assert (out / 'compact.pth').stat().st_size > 1000
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def refuses(trained, cfg, tmp_path, says):
    with pytest.raises(CompressionError, match=says):
        export(trained, cfg, tmp_path / 'out')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('change', ['weight', 'bias'])
def test_a_broken_op_is_noticed(trained, cfg, tmp_path, monkeypatch, change):
    right = FusedConv2d.to_static

    def wrong(op):
        conv = right(op)
        if change == 'weight':
            conv.weight.data[0, 0, 0, 0] += 0.05
        else:
            conv.bias = nn.Parameter(torch.full((conv.out_channels,), 0.01))
        return conv

    monkeypatch.setattr(FusedConv2d, 'to_static', wrong)
    with pytest.raises((CompressionError, RuntimeError)):
        export(trained, cfg, tmp_path / 'out')
    assert list(tmp_path.iterdir()) == []


def test_the_difference_is_told(trained, cfg, tmp_path, monkeypatch):
    right = FusedConv2d.fused
    monkeypatch.setattr(
        FusedConv2d,
        'forward',
        lambda op, x: op._conv_forward(x, right(op)[0] * 1.01, None),
    )
    refuses(trained, cfg, tmp_path, r'differs from the trained one by \d.*nothing was written')


def test_an_op_that_stays_is_noticed(trained, cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(FusedConv2d, 'to_static', lambda op: op)
    refuses(trained, cfg, tmp_path, 'is still a FusedConv2d')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_no_numbers_are_refused(trained, cfg, tmp_path, value):
    with torch.no_grad():
        trained.architecture.head.fc.weight[0, 0] = value
    refuses(trained, cfg, tmp_path, 'differs from the trained one by inf')


def test_compare_needs_the_same_shapes(trained):
    static = to_static(trained)
    assert compare(trained, static)[0] < 1e-5
    static.head.fc = nn.Linear(static.head.fc.in_features, 9)
    assert compare(trained, static)[0] == float('inf')


def test_to_static_leaves_the_algorithm_alone(trained):
    static = to_static(trained)
    assert not static.training
    assert any(isinstance(m, FusedConv2d) for m in trained.modules())
    with torch.no_grad():
        for parameter in static.parameters():
            parameter.zero_()
    assert all(p.any() for p in trained.parameters() if p.ndim > 1)


def test_random_draws_of_a_forward_pass_do_not_count(tiny_cfg, rng_state):
    """A second stage that samples proposals at random: both models see the same ones."""
    model = MODELS.build(dict(type='mmcompress.DCFF', architecture=tiny_cfg))
    kind = type(model.architecture)

    class Drawing(kind):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            return super().forward(inputs, data_samples, mode) + torch.rand(4)

    model.architecture.__class__ = Drawing
    before = rng_state()
    assert compare(model, to_static(model))[0] < 1e-5
    assert rng_state() == before
