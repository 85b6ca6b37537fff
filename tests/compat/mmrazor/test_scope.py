"""compat/mmrazor/scope.py: MMRazor's configs and files, beside the real package."""

import copy
import json

import pytest
import torch
from mmengine.hub import get_config
from mmengine.registry import LOOPS, MODELS, TASK_UTILS, DefaultScope
from mmengine.runner import Runner

import mmcompress
from mmcompress.core.base.build import build_model
from mmcompress.core.errors import CompressionError

pytest.importorskip('mmrazor')

NET = dict(type='mmengine.TinyNet')
PARSER = dict(type='ChannelAnalyzer', demo_input=(1, 3, 8, 8), tracer_type='FxTracer')


def mutator(**units):
    units = dict(type='DCFFChannelUnit', default_args=dict(choice_mode='ratio'), **units)
    return dict(type='DCFFChannelMutator', channel_unit_cfg=units, parse_cfg=dict(PARSER))


def config(**changes):
    """A DCFF config of MMRazor around a tiny network."""
    return dict(
        _scope_='mmrazor',
        type='DCFF',
        architecture=NET,
        mutator_cfg=mutator(),
        target_pruning_ratio={'backbone.conv1_(0, 8)_8': 0.5},
        step_freq=1,
        linear_schedule=False,
        **changes,
    )


def theirs(name):
    """MMRazor's own class."""
    from mmrazor.registry import MODELS as registry

    return registry.module_dict[name]


@pytest.fixture
def imported():
    """MMRazor with all its classes, whoever imported it first."""
    import mmrazor.engine
    import mmrazor.models  # noqa: F401


@pytest.mark.parametrize('kind', [dict(_scope_='mmrazor', type='DCFF'), dict(type='mmrazor.DCFF')])
def test_dcff_is_ours(kind, imported):
    given = config()
    del given['_scope_'], given['type']
    model = MODELS.build(dict(given, **kind))
    assert type(model) is mmcompress.methods.dcff.DCFF
    assert not isinstance(model, theirs('DCFF'))
    assert model.fuse_interval == 1
    assert model.by_epoch is None
    assert model.architecture.backbone.conv1.out_channels == 4


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmrazor', 'mmengine'])
@pytest.mark.parametrize('name', ['DCFFChannelMutator', 'DCFFChannelUnit'])
def test_bare_names_of_its_parts_are_ours_in_every_scope(scope, name, imported):
    with DefaultScope.overwrite_default_scope(scope):
        with MODELS.switch_scope_and_registry(None) as registry:
            found = registry.get(name)
        assert found.__module__.startswith('mmcompress')
    assert theirs(name).__module__.startswith('mmrazor')


def test_a_config_that_was_moved_over_half_way():
    model = MODELS.build(
        dict(type='mmcompress.DCFF', architecture=NET, mutator_cfg=mutator(), fuse_interval=1)
    )
    assert {type(unit).__name__ for unit in model.mutator.mutable_units} == {'DCFFUnit'}


def test_all_of_ours_is_in_the_scope():
    from mmcompress.registry import MODELS as ours

    for name in ('FCF', 'FilterBasis', 'SharedBasis', 'LinearConv', 'FCFMutator'):
        assert MODELS.get(f'mmrazor.{name}') is ours.module_dict[name]
    assert TASK_UTILS.get('mmrazor.DependencyAnalyzer') is not None


def test_what_is_mmrazor_s_alone_stays_mmrazor_s(imported):
    for name in ('SingleTeacherDistill', 'OneShotChannelMutator', 'DMCP'):
        assert MODELS.get(f'mmrazor.{name}') is theirs(name)
    assert TASK_UTILS.get('mmrazor.ChannelAnalyzer').__module__.startswith('mmrazor')
    assert MODELS.get('mmrazor.NoSuchName') is None


@pytest.mark.parametrize(('key', 'value'), [('prune_times', 4), ('linear_schedule', True)])
def test_mistakes_are_told(key, value):
    cfg = mmengine_config(dict(config(), **{key: value}))
    with pytest.raises(CompressionError, match=f'{key} is {value!r}'):
        build_model(cfg)


def mmengine_config(model):
    from mmengine.config import Config

    return Config(dict(model=model, default_scope='mmpretrain'))


# Published configs, as they are

PUBLISHED = {
    'mmcls/dcff/dcff_resnet_8xb32_in1k.py': (1, 'mmpretrain', [41, 38, 230]),
    'mmdet/dcff/dcff_faster_rcnn_resnet50_8xb4_coco.py': (1, 'mmdet', [41, 38, 230]),
    'mmpose/dcff/dcff_topdown_heatmap_resnet50_coco.py': (1, 'mmpose', [51, 51, 230]),
    'mmseg/dcff/dcff_pointrend_resnet50_8xb2_cityscapes.py': (200, 'mmseg', [41, 38, 230]),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_configs(name):
    interval, scope, widths = PUBLISHED[name]
    cfg = get_config(f'mmrazor::pruning/{name}')
    cfg.model.architecture.pop('pretrained', None)
    if 'backbone' in cfg.model.architecture:
        cfg.model.architecture.backbone.pop('init_cfg', None)
    with DefaultScope.overwrite_default_scope(scope):
        model = build_model(cfg)
    assert type(model) is mmcompress.methods.dcff.DCFF
    assert model.fuse_interval == interval
    backbone = model.architecture.backbone
    # 0.65 and 0.6 of 64 filters (0.8 of both for poses), 0.9 of 256.
    first = backbone.layer1[0]
    found = [first.conv1.out_channels, first.conv2.out_channels, first.conv3.out_channels]
    assert found == widths
    assert type(LOOPS.get(cfg.val_cfg.type)).__name__ == 'function'


# Training


def runner_of(model, folder, **kwargs):
    loader = dict(
        batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='mmengine.RandomImages', length=4),
    )
    return Runner(
        model=copy.deepcopy(model),
        work_dir=str(folder),
        experiment_name=str(folder),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        val_dataloader=loader,
        val_cfg=dict(type='mmrazor.ItePruneValLoop'),
        val_evaluator=dict(type='mmengine.DrawingMetric'),
        log_level='ERROR',
        cfg=dict(model=model),
        **kwargs,
    )


def test_a_config_is_trained_by_mmengine_alone_and_leaves_a_static_model(tmp_path):
    """No tool of ours, no hook of ours in the config: mmcompress was imported, nothing else."""
    runner = runner_of(config(), tmp_path)
    runner.train()
    assert int(runner.model.fuse_steps) == 2
    subnet, weights = tmp_path / 'fix_subnet.json', tmp_path / 'fix_subnet_weight.pth'
    static = MODELS.build(
        dict(
            _scope_='mmrazor',
            type='sub_model',
            cfg=NET,
            fix_subnet=str(subnet),
            mode='mutator',
            init_cfg=dict(type='Pretrained', checkpoint=str(weights)),
        )
    )
    static.init_weights()
    assert type(static.backbone.conv1) is torch.nn.Conv2d
    assert static.backbone.conv1.out_channels == 4
    images = torch.randn(2, 3, 8, 8)
    runner.model.eval()
    static.eval()
    torch.testing.assert_close(static(images), runner.model(images))


def test_hooks_of_a_config_are_not_doubled(tmp_path):
    runner = runner_of(config(), tmp_path, custom_hooks=[dict(type='mmcompress.CompressionHook')])
    runner.train()
    names = [type(hook).__name__ for hook in runner.hooks]
    assert names.count('CompressionHook') == 1
    assert names.count('ReseedHook') == 1


# Files that MMRazor wrote


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Unit file, ``fix_subnet.json`` and weights of MMRazor's own DCFF."""
    from mmrazor.structures import export_fix_subnet

    folder = tmp_path_factory.mktemp('mmrazor')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmrazor'):
        razor = theirs('DCFF')(
            architecture=dict(type='mmengine.TinyNet'),
            mutator_cfg=dict(
                type=theirs('DCFFChannelMutator'),
                channel_unit_cfg=theirs('DCFFChannelUnit'),
                parse_cfg=dict(PARSER),
            ),
        )
        razor.mutator.set_choices(dict.fromkeys(razor.mutator.current_choices, 0.5))
        razor.mutator.calc_information(0.5)
        units = razor.mutator.config_template(with_channels=True, with_unit_init_args=True)
        subnet, static = export_fix_subnet(razor, export_subnet_mode='mutator', slice_weight=True)
    (folder / 'units.json').write_text(json.dumps(units))
    (folder / 'fix_subnet.json').write_text(json.dumps(subnet))
    torch.save(dict(state_dict=static.state_dict()), folder / 'fix_subnet_weight.pth')
    return folder, static.architecture


def test_its_unit_file_is_read(written):
    folder, _ = written
    content = json.loads((folder / 'units.json').read_text())
    assert content['type'] == 'DCFFChannelMutator'
    for kind, mutator_type in (
        ('mmrazor.DCFF', 'DCFFChannelMutator'),
        ('mmcompress.DCFF', 'DCFFMutator'),
    ):
        model = MODELS.build(
            dict(
                type=kind,
                architecture=NET,
                mutator_cfg=dict(type=mutator_type, channel_unit_cfg=str(folder / 'units.json')),
            )
        )
        assert model.mutator.analysis is None
        assert model.mutator.choice_template == {
            'backbone.conv1_(0, 8)_8': 0.5,
            'backbone.conv2_(0, 16)_16': 0.5,
        }
        assert model.architecture.backbone.conv2.in_channels == 4


def test_its_static_model_is_rebuilt_with_its_weights(written):
    folder, expected = written
    static = MODELS.build(
        dict(
            _scope_='mmrazor',
            type='sub_model',
            cfg=NET,
            fix_subnet=str(folder / 'fix_subnet.json'),
            mode='mutator',
            init_cfg=dict(type='Pretrained', checkpoint=str(folder / 'fix_subnet_weight.pth')),
        )
    )
    static.init_weights()
    assert type(static.backbone.conv1) is torch.nn.Conv2d
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(static.eval()(images), expected.eval()(images))


def test_sub_models_of_its_other_algorithms_stay_its_own(imported, monkeypatch):
    from mmrazor.registry import MODELS as registry

    asked = []
    monkeypatch.setitem(registry._module_dict, 'sub_model', lambda **args: asked.append(args))
    content = {'backbone.conv1': dict(chosen=4)}
    MODELS.build(dict(type='mmrazor.sub_model', cfg=NET, fix_subnet=content))
    assert asked[0]['fix_subnet'] == content
    assert asked[0]['mode'] == 'mutable'


# Distillation


def distiller(student):
    return dict(
        _scope_='mmrazor',
        type='SingleTeacherDistill',
        architecture=student,
        teacher=dict(type='mmengine.TinyNet', width=16),
        distiller=dict(
            type='ConfigurableDistiller',
            student_recorders=dict(head=dict(type='ModuleOutputs', source='head')),
            teacher_recorders=dict(head=dict(type='ModuleOutputs', source='head')),
            distill_losses=dict(loss_kl=dict(type='KLDivergence', tau=1, loss_weight=1)),
            loss_forward_mappings=dict(
                loss_kl=dict(
                    preds_S=dict(from_student=True, recorder='head'),
                    preds_T=dict(from_student=False, recorder='head'),
                )
            ),
        ),
    )


def test_single_teacher_distill_trains_a_compact_student(tmp_path, imported):
    student = dict(config(), type='mmrazor.DCFF')
    del student['_scope_']
    runner = runner_of(
        distiller(student), tmp_path, custom_hooks=[dict(type='mmcompress.CompressionHook')]
    )
    before = runner.model.architecture.architecture.backbone.conv1.weight.clone()
    runner.train()
    assert isinstance(runner.model, theirs('SingleTeacherDistill'))
    assert int(runner.model.architecture.fuse_steps) == 2
    assert not torch.equal(before, runner.model.student.backbone.conv1.weight)
    assert (tmp_path / 'fix_subnet.json').is_file()


def test_single_teacher_distill_takes_a_static_student(tmp_path, imported):
    algorithm = MODELS.build(config())
    student = dict(
        type='mmcompress.sub_model',
        cfg=NET,
        fix_subnet=dict(
            layers={
                'backbone.conv1': dict(in_channels=3, out_channels=4),
                'backbone.bn1': dict(in_channels=4, out_channels=4),
                'backbone.conv2': dict(in_channels=4, out_channels=16),
            }
        ),
    )
    model = MODELS.build(distiller(student))
    losses = model(torch.rand(2, 3, 8, 8), [0, 1], mode='loss')
    assert {'student.loss', 'distill.loss_kl'} <= set(losses)
    assert model.student.backbone.conv1.out_channels == (
        algorithm.architecture.backbone.conv1.out_channels
    )


def test_its_validation_loop_serves_its_own_algorithms(imported):
    from types import SimpleNamespace

    from mmengine.evaluator import Evaluator
    from mmrazor.registry import LOOPS as registry
    from torch.utils.data import DataLoader

    from mmcompress.engine import ExportValLoop

    loop = LOOPS.get('mmrazor.ItePruneValLoop')
    rest = DataLoader([1]), Evaluator([])
    for model, kind in ((config(), ExportValLoop), (NET, registry.module_dict['ItePruneValLoop'])):
        runner = SimpleNamespace(model=MODELS.build(model), visualizer=SimpleNamespace())
        assert type(loop(runner, *rest)) is kind
