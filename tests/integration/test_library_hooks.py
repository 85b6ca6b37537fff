"""The libraries' own hooks, loops and optimizer constructors, on a compressed model."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hub import get_config
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmcompress.core.probe.demo_inputs import demo_batch
from mmcompress.registry import MODELS as OURS


def compress(architecture, method='DCFF', **kwargs):
    """The algorithm of a method around a built model."""
    if method != 'DCFF':
        kwargs.setdefault('init', 'kaiming')
    return OURS.build(
        dict(type=method, architecture=architecture, target_pruning_ratio=0.5, **kwargs)
    )


def runner_of(model, **kwargs):
    """What hooks and loops ask of a runner."""
    given = dict(
        logger=logging.getLogger('hooks'),
        call_hook=lambda *args, **kwargs: None,
        visualizer=SimpleNamespace(),
        iter=0,
    )
    return SimpleNamespace(model=model, **{**given, **kwargs})


def small_yolox(path, **head):
    """YOLOX, or YOLOX-Pose, of a sixteenth of the width."""
    cfg = get_config(path).model
    cfg.backbone.update(deepen_factor=0.1, widen_factor=0.125)
    cfg.neck.update(in_channels=[32, 64, 128], out_channels=16, num_csp_blocks=1)
    cfg.update(head)
    return MODELS.build(dict(cfg, _scope_=path.partition('::')[0]))


def losses(model, size=64):
    """The names of the losses on a demo batch."""
    model.train()
    inputs, samples = demo_batch(model.architecture, (2, 3, size, size), 'loss')
    return set(model(inputs, samples, mode='loss'))


# mmdet


def test_yolox_mode_switch_hook():
    from mmdet.engine.hooks import YOLOXModeSwitchHook

    head = dict(type='YOLOXHead', num_classes=3, in_channels=16, feat_channels=16)
    model = compress(small_yolox('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', bbox_head=head))
    skipped = []
    dataset = SimpleNamespace(update_skip_type_keys=skipped.append)
    loader = SimpleNamespace(dataset=dataset, persistent_workers=False)
    loop = SimpleNamespace(dataloader=loader)
    runner = runner_of(model, epoch=7, max_epochs=10, train_dataloader=loader, train_loop=loop)
    hook = YOLOXModeSwitchHook(num_last_epochs=1)
    hook.before_train_epoch(runner)
    assert 'loss_l1' not in losses(model)
    runner.epoch = 9
    hook.before_train_epoch(runner)
    assert skipped
    assert model.architecture.bbox_head.use_l1 is True
    assert 'loss_l1' in losses(model)


def test_set_epoch_info_hook(tiny_cfg):
    from mmdet.engine.hooks import SetEpochInfoHook

    model = compress(MODELS.build(tiny_cfg))
    # As detectors with a schedule of their own have it.
    kind = type(model.architecture)
    model.architecture.__class__ = type(
        'Scheduled', (kind,), dict(set_epoch=lambda self, epoch: setattr(self, 'epoch', epoch))
    )
    SetEpochInfoHook().before_train_epoch(runner_of(model, epoch=5))
    assert model.architecture.epoch == 5


@pytest.fixture
def semi_detector():
    """A teacher and a student of RetinaNet."""
    detector = dict(
        type='RetinaNet',
        backbone=dict(type='ResNet', depth=18, base_channels=8, init_cfg=None),
        neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=8, num_outs=5),
        bbox_head=dict(type='RetinaHead', num_classes=2, in_channels=8, feat_channels=8),
        train_cfg=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
            sampler=dict(type='PseudoSampler'),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        test_cfg=dict(
            nms_pre=10,
            min_bbox_size=0,
            score_thr=0.0,
            max_per_img=5,
            nms=dict(type='nms', iou_threshold=0.5),
        ),
        data_preprocessor=dict(type='DetDataPreprocessor'),
    )
    detector['bbox_head']['anchor_generator'] = dict(
        type='AnchorGenerator',
        octave_base_scale=4,
        scales_per_octave=3,
        ratios=[1.0],
        strides=[8, 16, 32, 64, 128],
    )
    return MODELS.build(
        ConfigDict(
            _scope_='mmdet',
            type='SemiBaseDetector',
            detector=detector,
            data_preprocessor=dict(
                type='MultiBranchDataPreprocessor',
                data_preprocessor=dict(type='DetDataPreprocessor'),
            ),
            semi_train_cfg=dict(
                freeze_teacher=True,
                sup_weight=1.0,
                unsup_weight=1.0,
                cls_pseudo_thr=0.0,
                min_pseudo_bbox_wh=(0.01, 0.01),
            ),
            semi_test_cfg=dict(predict_on='teacher'),
        )
    )


def test_mean_teacher_hook(semi_detector):
    from mmdet.engine.hooks import MeanTeacherHook

    model = compress(semi_detector)
    with torch.no_grad():
        for parameter in model.architecture.student.parameters():
            parameter.add_(1)
    hook = MeanTeacherHook(momentum=0.25)
    hook.before_train(runner_of(model))  # the first step copies
    pairs = list(
        zip(
            model.architecture.student.named_parameters(),
            model.architecture.teacher.named_parameters(),
            strict=True,
        )
    )
    assert all(torch.equal(one, other) for (_, one), (_, other) in pairs)
    with torch.no_grad():
        for (_, one), _ in pairs:
            one.add_(4)
    hook.after_train_iter(runner_of(model), 0)
    for (name, one), (_, other) in pairs:
        torch.testing.assert_close(other, one - 3, msg=name, rtol=1e-4, atol=1e-4)


class Images(Dataset):
    """Two images, as a library's data set returns them."""

    def __init__(self, kind, count=2, **info):
        self.items = [
            dict(inputs=torch.rand(3, 32, 32), data_samples=kind(metainfo=info))
            for _ in range(count)
        ]
        self.img_size = self.text_size = count

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Count(BaseMetric):
    """How many predictions there were."""

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return dict(count=len(results))


def loader_of(dataset):
    return DataLoader(dataset, batch_size=2, collate_fn=lambda items: gather(items))


def gather(items):
    return {key: [item[key] for item in items] for key in items[0]}


def test_teacher_student_val_loop(semi_detector):
    from mmdet.engine.runner import TeacherStudentValLoop
    from mmdet.structures import DetDataSample

    model = compress(semi_detector)
    asked = []
    for name in ('teacher', 'student'):
        part = getattr(model.architecture, name)
        part.predict = lambda inputs, samples, name=name: asked.append(name) or samples
    info = dict(img_shape=(32, 32), ori_shape=(32, 32), scale_factor=(1, 1), pad_shape=(32, 32))
    loader = loader_of(Images(DetDataSample, **info))
    collected = []
    runner = runner_of(model, call_hook=lambda *stage, **given: collected.append(given))
    TeacherStudentValLoop(runner, loader, Evaluator(Count())).run()
    metrics = next(given['metrics'] for given in collected if 'metrics' in given)
    assert metrics == {'teacher/count': 2, 'student/count': 2}
    assert asked == ['teacher', 'student']
    assert model.architecture.semi_test_cfg['predict_on'] == 'teacher'


# mmpretrain


def test_densecl_hook(tiny_cfg):
    from mmpretrain.engine.hooks import DenseCLHook

    model = compress(MODELS.build(tiny_cfg))
    model.architecture.loss_lambda = 0.5
    hook = DenseCLHook(start_iters=10)
    runner = runner_of(model)
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    assert model.architecture.loss_lambda == 0.0
    runner.iter = 10
    hook.before_train_iter(runner, 0)
    assert model.architecture.loss_lambda == 0.5


def test_switch_recipe_hook(classifier_cfg):
    from mmpretrain.engine.hooks import SwitchRecipeHook

    model = compress(OURS.build(classifier_cfg()))
    recipe = dict(
        action_epoch=2,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
        batch_augments=dict(augments=[dict(type='Mixup', alpha=0.8)]),
    )
    hook = SwitchRecipeHook([recipe])
    hook.before_train_epoch(runner_of(model, epoch=1))
    assert type(model.architecture.head.loss_module).__name__ == 'LabelSmoothLoss'
    assert model.architecture.data_preprocessor.batch_augments is not None


class Retriever(BaseModel):
    """Images and texts, in the form of mmpretrain's BLIP."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))

    def forward(self, inputs=None, data_samples=None, mode='tensor'):
        if isinstance(inputs, list):
            inputs = torch.stack(inputs)
        features = self.backbone(inputs).mean((2, 3))
        return dict(image_feat=features) if mode == 'tensor' else dict(loss=features.sum())

    def predict_all(self, feats, data_samples, num_images, num_texts):
        assert feats['image_feat'].shape == (num_images, 4)
        return data_samples, data_samples[:1]


def test_retrieval_loop():
    from mmpretrain.engine.runners import RetrievalTestLoop, RetrievalValLoop

    architecture = Retriever()
    with torch.no_grad():
        model = compress(architecture)
    loader = loader_of(Images(BaseDataElement))
    for loop in (RetrievalValLoop, RetrievalTestLoop):
        metrics = loop(runner_of(model), loader, Evaluator(Count())).run()
        assert metrics == {'i2t/count': 2, 't2i/count': 1}


# mmpose


@pytest.fixture(scope='module')
def pose_estimator():
    path = 'mmpose::body_2d_keypoint/yoloxpose/coco/yoloxpose_tiny_4xb64-300e_coco-416.py'
    cfg = get_config(path).model
    module = dict(cfg.head.head_module_cfg, in_channels=16, feat_channels=16, widen_factor=1.0)
    return compress(small_yolox(path, head=dict(cfg.head, head_module_cfg=module)))


def test_yoloxpose_mode_switch_hook(pose_estimator):
    from mmpose.engine.hooks import YOLOXPoseModeSwitchHook

    model = pose_estimator
    assert model.architecture.head.use_aux_loss is False
    hook = YOLOXPoseModeSwitchHook(num_last_epochs=1)
    built = []
    hook._modify_dataloader = built.append
    hook.before_train_epoch(runner_of(model, epoch=8, max_epochs=10))
    assert built
    assert model.architecture.head.use_aux_loss is True


def test_rtmo_mode_switch_hook(pose_estimator):
    from mmpose.engine.hooks import RTMOModeSwitchHook

    model = pose_estimator
    hook = RTMOModeSwitchHook({3: {'use_aux_loss': 'of epoch 3', 'loss_cls.loss_weight': 7.0}})
    hook.before_train_epoch(runner_of(model, epoch=3))
    assert model.architecture.head.use_aux_loss == 'of epoch 3'
    assert model.architecture.head.loss_cls.loss_weight == 7.0


# Optimizer constructors

CONVNEXT = dict(
    type='mmpretrain.ConvNeXt',
    arch=dict(depths=[1, 1, 4, 1], channels=[8, 16, 24, 32]),
    out_indices=(0, 1, 2, 3),
    gap_before_final_norm=False,
)


def detector():
    return dict(
        _scope_='mmdet',
        type='RetinaNet',
        backbone=CONVNEXT,
        neck=dict(type='FPN', in_channels=[8, 16, 24, 32], out_channels=8, num_outs=5),
        bbox_head=dict(
            type='RetinaHead',
            num_classes=2,
            in_channels=8,
            feat_channels=8,
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=3,
                ratios=[1.0],
                strides=[8, 16, 32, 64, 128],
            ),
        ),
    )


def segmentor():
    return dict(
        _scope_='mmseg',
        type='EncoderDecoder',
        backbone=CONVNEXT,
        decode_head=dict(
            type='FCNHead', in_channels=32, in_index=3, channels=8, num_classes=3, num_convs=1
        ),
        test_cfg=dict(mode='whole'),
    )


def classifier():
    return dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=34, base_channels=8, out_indices=(3,)),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=64),
    )


def pose():
    import mmpose.engine  # noqa: F401  (registers its constructor, in mmengine's registry)

    return dict(
        _scope_='mmpose',
        type='TopdownPoseEstimator',
        backbone=dict(
            type='mmpretrain.VisionTransformer',
            arch=dict(embed_dims=16, num_layers=4, num_heads=2, feedforward_channels=16),
            img_size=64,
            patch_size=16,
            out_type='featmap',
            with_cls_token=False,
        ),
        head=dict(
            type='HeatmapHead',
            in_channels=16,
            out_channels=3,
            deconv_out_channels=None,
            conv_out_channels=(8, 8),
            conv_kernel_sizes=(3, 3),
            loss=dict(type='KeypointMSELoss', use_target_weight=True),
        ),
    )


DECAY = dict(decay_rate=0.5, decay_type='layer_wise', num_layers=6)
CONSTRUCTORS = {
    'mmdet': (detector, 'mmdet.LearningRateDecayOptimizerConstructor', DECAY),
    'mmdet by stage': (
        detector,
        'mmdet.LearningRateDecayOptimizerConstructor',
        dict(DECAY, decay_type='stage_wise'),
    ),
    'mmseg': (segmentor, 'mmseg.LearningRateDecayOptimizerConstructor', DECAY),
    'mmpretrain': (
        classifier,
        'mmpretrain.LearningRateDecayOptimWrapperConstructor',
        dict(layer_decay_rate=0.5, norm_decay_mult=0.0, bias_decay_mult=0.0),
    ),
    'mmpose': (
        pose,
        'LayerDecayOptimWrapperConstructor',
        dict(layer_decay_rate=0.5, num_layers=4),
    ),
    'mmengine': (
        classifier,
        'DefaultOptimWrapperConstructor',
        dict(
            norm_decay_mult=0.0,
            custom_keys={'backbone.layer1': dict(lr_mult=0.1), 'head': dict(decay_mult=0.5)},
        ),
    ),
}

#: Where each model has plain convolutions whose widths are free.
PLAIN = dict(
    mmdet=['neck'],
    mmseg=['decode_head'],
    mmpretrain=['backbone'],
    mmpose=['head'],
    mmengine=['backbone'],
)


def settings_by_name(model, architecture, constructor, paramwise):
    """Learning rate and weight decay of each parameter, by its name in the architecture."""
    names = {id(p): name for name, p in architecture.named_parameters()}
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.25),
            constructor=constructor,
            paramwise_cfg=dict(paramwise),
        ),
    )
    return {
        names[id(parameter)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }


@pytest.mark.parametrize('name', CONSTRUCTORS)
def test_optimizer_constructors_make_the_groups_of_the_dense_model(name):
    build, *options = CONSTRUCTORS[name]
    dense = MODELS.build(build())
    wanted = settings_by_name(dense, dense, *options)
    include = dict(parse_cfg=dict(include=PLAIN[name.split()[0]]))
    model = compress(MODELS.build(build()), mutator_cfg=dict(type='DCFFMutator', **include))
    found = settings_by_name(model, model.architecture, *options)
    assert found == wanted
    assert len({lr for lr, _ in wanted.values()}) > 1


@pytest.mark.parametrize('name', ['mmdet', 'mmseg', 'mmpretrain', 'mmpose'])
def test_parameters_of_a_method_are_in_the_group_of_their_layer(name):
    build, *options = CONSTRUCTORS[name]
    dense = MODELS.build(build())
    rates = {k: lr for k, (lr, _) in settings_by_name(dense, dense, *options).items()}
    mutator = dict(type='FilterBasisMutator', parse_cfg=dict(min_channels=3))
    model = compress(MODELS.build(build()), 'FilterBasis', mutator_cfg=mutator)
    found = settings_by_name(model, model.architecture, *options)
    own = {key for key in found if key not in rates}
    assert own
    for key, (lr, _) in found.items():
        layer = key
        while layer not in rates:
            # An op has the name of its layer, whose dense parameter is `weight`.
            layer = layer.rpartition('.')[0]
            layer = f'{layer}.weight' if f'{layer}.weight' in rates else layer
        assert lr == rates[layer], key


def test_the_runner_builds_its_optimizer_so(tmp_path):
    model = compress(MODELS.build(classifier()))
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        experiment_name=tmp_path.name,
        train_dataloader=dict(
            batch_size=1,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='mmengine.RandomImages', length=1),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=1.0, weight_decay=0.1),
            constructor='mmpretrain.LearningRateDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.5),
        ),
        log_level='ERROR',
    )
    groups = runner.build_optim_wrapper(runner.optim_wrapper).optimizer.param_groups
    by_name = {group['param_name']: group['lr'] for group in groups}
    assert by_name['head.fc.weight'] == 1.0
    assert by_name['backbone.conv1.weight'] < by_name['backbone.layer4.0.conv1.weight'] < 1.0
