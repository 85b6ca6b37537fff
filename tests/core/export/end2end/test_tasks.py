"""Classes, label maps, key points and larger images: what the library predicts."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS

from mmcompress.core import CompressionError
from mmcompress.core.export.end2end import end_to_end
from mmcompress.core.export.onnx import export_onnx
from mmcompress.core.export.sessions import openvino_session, session

SIMCC = dict(
    type='RTMCCHead',
    in_channels=64,
    out_channels=5,
    input_size=(64, 64),
    in_featuremap_size=(2, 2),
    simcc_split_ratio=2.0,
    gau_cfg=dict(
        hidden_dims=16,
        s=8,
        expansion_factor=2,
        dropout_rate=0.0,
        drop_path=0.0,
        act_fn='SiLU',
        use_rel_bias=False,
        pos_enc=False,
    ),
    loss=dict(type='KLDiscretLoss', use_target_weight=True),
    decoder=dict(type='SimCCLabel', input_size=(64, 64), sigma=(2, 2), simcc_split_ratio=2.0),
)
HEATMAP = dict(
    type='HeatmapHead',
    in_channels=64,
    out_channels=5,
    deconv_out_channels=(16, 16, 16),
    loss=dict(type='KeypointMSELoss'),
    decoder=dict(type='MSRAHeatmap', input_size=(64, 64), heatmap_size=(16, 16), sigma=1),
)


def pose(head):
    backbone = dict(type='ResNet', depth=18, base_channels=8)
    cfg = dict(type='TopdownPoseEstimator', backbone=backbone, head=head, _scope_='mmpose')
    return MODELS.build(dict(cfg, data_preprocessor=dict(type='PoseDataPreprocessor')))


def segmenter(classes=4, **changes):
    norm = dict(type='BN')
    head = dict(
        type='FCNHead',
        in_channels=64,
        channels=8,
        in_index=3,
        num_convs=1,
        num_classes=classes,
        norm_cfg=norm,
        **changes.pop('head', {}),
    )
    backbone = dict(type='ResNetV1c', depth=18, stem_channels=8, base_channels=8, norm_cfg=norm)
    cfg = dict(type='EncoderDecoder', backbone=backbone, decode_head=head, _scope_='mmseg')
    cfg |= dict(data_preprocessor=dict(type='SegDataPreProcessor'), train_cfg={})
    return MODELS.build(ConfigDict(cfg | dict(test_cfg=dict(mode='whole')) | changes))


def enlarger():
    network = dict(type='mmcompress.EDSR', num_blocks=1, width=4, scale=2)
    return MODELS.build(dict(type='mmcompress.SuperResolver', backbone=network))


def classifier():
    return MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmcompress.CIFARResNet', depth=8),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=10, in_channels=64),
        )
    )


#: How to build it, the side of its images, the names of its outputs.
TASKS = {
    'classifier': (classifier, 32, ['scores', 'labels']),
    'segmenter': (segmenter, 64, ['label_map']),
    'one class': (
        lambda: segmenter(2, head=dict(out_channels=1, threshold=0.5)),
        64,
        ['label_map'],
    ),
    'heatmap': (lambda: pose(HEATMAP), 64, ['keypoints', 'scores']),
    'simcc': (lambda: pose(SIMCC), 64, ['keypoints', 'scores']),
    'super-resolution': (enlarger, 24, ['pred_images']),
}


@pytest.mark.parametrize('name', TASKS)
def test_what_the_library_predicts(name, tmp_path):
    build, side, names = TASKS[name]
    torch.manual_seed(0)
    model = build().eval()
    found = export_onnx(model, tmp_path / 'a.onnx', (3, side, side), outputs='end2end')
    assert found['names'] == names
    free = ['batch'] if name == 'simcc' else ['batch', 'height', 'width']
    assert found['free'] == free
    batch = torch.randn(5, 3, side, side)
    graph = end_to_end(model)
    with torch.no_grad():
        expected = graph.expected(batch)
    for run in (session(tmp_path / 'a.onnx', 1), openvino_session(tmp_path / 'a.onnx', 1)):
        assert list(run.names) == names
        outputs = [torch.from_numpy(array) for array in run(batch)]
        for one, other in zip(expected, outputs, strict=True):
            assert one.dtype == other.dtype
            if one.dtype == torch.int64:
                assert (one != other).float().mean() < 1e-3
            else:
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_key_points_by_the_book():
    """Heatmaps whose maximum is inside, on a border, in a corner, tied and nowhere."""
    graph = end_to_end(pose(HEATMAP))
    heatmaps = 0.1 * torch.rand(1, 5, 16, 16, generator=torch.Generator().manual_seed(0))
    for k, (x, y) in enumerate([(5, 7), (15, 3), (0, 0), (1, 14)]):
        heatmaps[0, k, y, x] = 1
    heatmaps[0, 4] = -1
    places, scores = graph.decode(heatmaps)
    keypoints, values = graph.model.head.decoder.decode(heatmaps[0].numpy())
    torch.testing.assert_close(places[0], torch.from_numpy(keypoints[0]))
    torch.testing.assert_close(scores[0], torch.from_numpy(values[0]))
    assert (places[0, 0] - 4 * torch.tensor([5, 7])).abs().tolist() == [1, 1]


def other_head():
    model = classifier()
    model.head = MODELS.build(
        dict(type='mmpretrain.MultiLabelLinearClsHead', num_classes=10, in_channels=64)
    )
    return model


def unbiased():
    return pose(dict(HEATMAP, decoder=dict(HEATMAP['decoder'], unbiased=True)))


@pytest.mark.parametrize(
    ('build', 'says'),
    [
        (other_head, 'MultiLabelLinearClsHead'),
        (unbiased, 'MSRAHeatmap'),
        (lambda: segmenter(test_cfg=dict(mode='slide', crop_size=(8, 8), stride=(4, 4))), 'slide'),
        (lambda: torch.nn.ReLU(), 'ReLU'),
    ],
)
def test_what_has_no_graph_is_named(build, says, tmp_path):
    with pytest.raises(CompressionError, match=f'{says}.*--onnx raw'):
        export_onnx(build(), tmp_path / 'a.onnx', (3, 32, 32), outputs='end2end')
    assert not list(tmp_path.iterdir())


def test_a_wrong_label_is_counted():
    graph = end_to_end(classifier())
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        scores, labels = graph.expected(images)
        right = graph.differences(images, [scores, labels], 1e-4)
        wrong = graph.differences(images, [scores + 0.5, (labels + 1) % 10], 1e-4)
        other = graph.differences(images, [scores[:2], labels[:2]], 1e-4)
    assert right == dict(scores=0, labels=0)
    assert wrong['labels'] == 4
    assert wrong['scores'] == pytest.approx(0.5)
    assert other['labels'] == float('inf')
