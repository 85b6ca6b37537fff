"""Files in 8 bits, from the command line: errors of layers, and the metric in both runtimes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config

from mmcompress.cli.calibration import Calibration, calibration_dataset
from mmcompress.cli.exporting import export_checkpoint
from mmcompress.cli.launch import build_algorithm, load_config
from mmcompress.cli.quantizing import Int8Options, drop_in_points, main_metric
from mmcompress.cli.runner import ToolRunner
from mmcompress.core.base.build import build_model
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import load_into
from mmcompress.core.export.onnx_predictor import OnnxPredictor
from mmcompress.core.export.sessions import session

FLOAT, INT8 = 'compact.onnx', 'compact_int8.onnx'


@pytest.fixture(scope='module')
def exported(tool: ModuleType, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export in float32 and in 8 bits, end to end."""
    out = tmp_path_factory.mktemp('int8') / 'export'
    text = tool.succeed(
        'export', tool.DEMO, trained / 'epoch_3.pth', '--out', out, '--onnx', 'end2end', '--int8',
        '--calib', 20, '--max-drop', 50, '--int8-keep', 'head', '--json',
        '--cfg-options', *tool.SMALL,
    )  # fmt: skip
    (out / 'printed.json').write_text(text)
    return out


def test_the_table_of_errors(exported: Path) -> None:
    printed = json.loads((exported / 'printed.json').read_text())['int8']
    assert json.loads((exported / 'compact_int8.json').read_text()) == printed
    rows = {row['layer']: row for row in printed['layers']}
    assert rows['head.fc']['precision'] == 'fp32'
    assert rows['backbone.conv1']['precision'] == 'int8'
    assert printed['kept'] == ['head.fc']
    assert printed['images'] == 20
    assert printed['sqnr_db'] >= printed['min_sqnr_db']
    assert printed['int8_bytes'] == (exported / INT8).stat().st_size < printed['float_bytes'] / 2
    assert printed['metric'] == 'accuracy/top1'


def test_metrics_in_the_runtimes(exported: Path, tmp_path: Path, call) -> None:
    printed = json.loads((exported / 'printed.json').read_text())['int8']
    config, found = exported / 'compact.py', {}
    for file, runtime in (
        ('compact.pth', None),
        (FLOAT, 'onnxruntime'),
        (FLOAT, 'openvino'),
        (INT8, 'onnxruntime'),
        (INT8, 'openvino'),
    ):
        metrics = tmp_path / 'metrics.json'
        given = ['--runtime', runtime] if runtime else []
        call('test', config, exported / file, *given, '--work-dir', tmp_path, '--json', metrics)
        found[file, runtime] = json.loads(metrics.read_text())['accuracy/top1']
    in_torch = found['compact.pth', None]
    assert found[FLOAT, 'onnxruntime'] == found[FLOAT, 'openvino'] == in_torch
    assert printed['metric_fp32'] == in_torch
    assert printed['metric_int8'] == found[INT8, 'onnxruntime']
    # One of fifty images is two points.
    assert found[INT8, 'openvino'] == pytest.approx(found[INT8, 'onnxruntime'], abs=4)


def test_times_of_files(exported: Path, call) -> None:
    text = call(
        'benchmark', exported / 'compact.py', '--files', exported / FLOAT, exported / INT8,
        '--repeats', 2, '--batch-sizes', 1, 2, '--json',
    )  # fmt: skip
    result = json.loads(text)
    keys = [(row['batch_size'], row['runtime'], Path(row['file']).name) for row in result['files']]
    assert keys == [
        (size, runtime, name)
        for size in (1, 2)
        for runtime in ('onnxruntime', 'openvino')
        for name in (FLOAT, INT8)
    ]
    assert all(row['ms'] > 0 for row in result['files'])
    assert result['shape'] == [3, 32, 32]


def test_wrong_input(exported: Path, trained: Path, tool: ModuleType, tmp_path: Path, call) -> None:
    config = exported / 'compact.py'
    for arguments, key in (
        ((exported / 'nothing.onnx',), 'nothing.onnx'),
        ((exported / 'compact.pth', '--runtime', 'openvino'), '--runtime'),
        ((exported / FLOAT, '--chop', 16), '--chop'),
    ):
        with pytest.raises(CompressionError, match=key):
            call('test', config, *arguments, '--work-dir', tmp_path)
    with pytest.raises(CompressionError, match='--files.*nothing.onnx'):
        call('benchmark', config, '--files', exported / 'nothing.onnx')
    for options, key in (
        (('--calib', 0), '--calib is 0'),
        (('--int8-keep', 'tail'), "--int8-keep.*'tail'"),
        (('--max-drop', 1), '--max-drop.*end2end'),
    ):
        out = tmp_path / key[2:7]
        with pytest.raises(CompressionError, match=key):
            call(
                'export', tool.DEMO, trained / 'epoch_3.pth', '--out', out, '--int8', *options,
                '--cfg-options', *tool.SMALL,
            )  # fmt: skip
        assert not list(out.glob('*int8*'))
        # Only the names of layers need the file in float32.
        assert not out.exists() or '--int8-keep' in options


def test_calibration_takes_training_images_as_a_test_does(tool: ModuleType) -> None:
    cfg = Config.fromfile(tool.ROOT / tool.DEMO)
    preprocessor = build_model(cfg).data_preprocessor
    images = [list(Calibration(cfg, 5).images(preprocessor)) for _ in range(2)]
    assert all((one == other).all() for one, other in zip(*images, strict=True))
    dataset = Calibration(cfg, 5).dataset
    assert len(dataset) > 1000
    last = torch.from_numpy(images[0][-1])
    plain = preprocessor(dict(inputs=[dataset[len(dataset) - 1]['inputs']]), False)['inputs']
    assert torch.equal(last, plain)
    with pytest.raises(CompressionError, match='train_dataloader'):
        Calibration(Config(dict(test_dataloader=cfg.test_dataloader)), 1)


def test_wrappers_of_data_sets_keep_to_the_pipeline_of_the_test() -> None:
    inner = dict(type='Inner', pipeline=['augment'])
    mosaic = dict(type='MultiImageMixDataset', dataset=inner, pipeline=['mix'])
    train = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(type='ConcatDataset', datasets=[mosaic, dict(inner, type='Other')]),
    )
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=train),
            test_dataloader=dict(
                dataset=dict(type='Wrapper', dataset=dict(inner, pipeline=['test']))
            ),
        )
    )
    assert calibration_dataset(cfg) == dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(
            type='ConcatDataset',
            datasets=[dict(type=name, pipeline=['test']) for name in ('Inner', 'Other')],
        ),
    )


def test_drops_in_points() -> None:
    assert main_metric({'aAcc': 90.0, 'mIoU': 60.0, 'mAcc': 70.0}) == 'mIoU'
    assert main_metric({'coco/bbox_mAP': 0.7, 'coco/bbox_mAP_50': 0.9}) == 'coco/bbox_mAP'
    assert main_metric({'PCK': 0.9, 'coco/AP': 0.7, 'coco/AP .5': 1.0}) == 'coco/AP'
    assert main_metric({'loss': 3.0}) == 'loss'
    assert drop_in_points(99.5, 99.0) == pytest.approx(0.5)
    assert drop_in_points(0.7, 0.71) == pytest.approx(-1)


@pytest.fixture(scope='module')
def detector(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The demo's detector with random weights, exported end to end and in 8 bits."""
    folder = tmp_path_factory.mktemp('detector')
    cfg = load_config(
        tool.ROOT / 'configs/demo/dcff_faster-rcnn_r18_digits.py',
        cfg_options={
            'model.architecture.test_cfg.rcnn.score_thr': 0.0,
            'model.architecture.test_cfg.rcnn.max_per_img': 10,
            # Boxes are to be given in pixels of the image before it is enlarged.
            'test_dataloader.dataset.pipeline.1.scale': (128, 128),
            'test_dataloader.dataset.indices': 3,
            'test_dataloader.batch_size': 3,
        },
    )
    torch.manual_seed(0)
    torch.save(dict(state_dict=build_algorithm(cfg).state_dict(), meta={}), folder / 'x.pth')
    result = export_checkpoint(
        cfg,
        folder / 'x.pth',
        folder / 'export',
        batches=1,
        onnx_shape=(3, 96, 96),
        onnx=dict(outputs='end2end'),
        int8=Int8Options(calib=2, min_sqnr=0),
    )
    return dict(result, cfg=cfg)


def test_a_detector_in_onnxruntime_predicts_what_the_library_does(detector: dict) -> None:
    # The scope of mmdet, which another test may have left.
    model = build_model(load_config(detector['config'])).eval()
    load_into(model, detector['checkpoint'])
    batch = next(iter(ToolRunner.build_dataloader(detector['cfg'].test_dataloader)))
    predictor = OnnxPredictor(session(detector['onnx']), model.data_preprocessor)
    with torch.no_grad():
        expected, found = (
            [sample.pred_instances for sample in one.test_step(copy.deepcopy(batch))]
            for one in (model, predictor)
        )
    for one, other in zip(found, expected, strict=True):
        assert len(other) == 10
        assert torch.equal(one.labels, other.labels)
        torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=1e-4)
        torch.testing.assert_close(one.bboxes, other.bboxes, rtol=0, atol=1e-3)
        assert other.bboxes.max() <= 96 + 1e-3


def test_only_the_layers_of_a_detector_are_in_8_bits(detector: dict) -> None:
    import onnx

    rows = {row['layer']: row['precision'] for row in detector['int8']['layers']}
    assert detector['int8']['kept'] == []
    assert {'backbone.conv1', 'rpn_head.rpn_reg', 'roi_head.bbox_head.fc_cls'} <= set(rows)
    graph = onnx.load(detector['int8']['int8']).graph
    rounded = {node.input[0] for node in graph.node if node.op_type == 'QuantizeLinear'}
    types = {node.op_type for node in graph.node if rounded & set(node.output)}
    assert {'Conv', 'Gemm', 'Add'} <= types
    assert types.isdisjoint({'Softmax', 'Sigmoid', 'Exp', 'Mul', 'TopK', 'NonMaxSuppression'})
    model = build_model(load_config(detector['config']))
    batch = next(iter(ToolRunner.build_dataloader(detector['cfg'].test_dataloader)))
    predictor = OnnxPredictor(session(detector['int8']['int8']), model.data_preprocessor)
    assert all(len(sample.pred_instances) for sample in predictor.test_step(batch))
