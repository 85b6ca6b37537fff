"""An export through the libraries' own APIs, tools and Inferencers: as with a dense config."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from mmcompress.cli.exporting import export_checkpoint
from mmcompress.cli.launch import build_algorithm, load_config
from mmcompress.cli.training import check

TASKS = ('resnet20', 'faster-rcnn_r18', 'fcn_r18', 'heatmap_r18')
#: The part of each model that knows the classes, and how its config counts them.
HEADS = {
    'resnet20': ('head', 'num_classes'),
    'faster-rcnn_r18': ('roi_head.bbox_head', 'num_classes'),
    'fcn_r18': ('decode_head', 'num_classes'),
    'heatmap_r18': ('head', 'out_channels'),
}
FEW = {f'{split}_dataloader.dataset.indices': 4 for split in ('train', 'val', 'test')}


@pytest.fixture(scope='module')
def exports(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Export folders by task, of networks that were narrowed and not trained."""
    folders = {}
    for task in TASKS:
        folder = tmp_path_factory.mktemp(task)
        cfg = load_config(
            str(tool.ROOT / f'configs/demo/dense_{task}_digits.py'),
            compress='dcff_r18',
            cfg_options={
                'model.mutator_cfg.parse_cfg': None,
                'model.target_pruning_ratio': 0.5,
                **FEW,
            },
        )
        torch.manual_seed(0)
        algorithm = build_algorithm(cfg)
        algorithm.architecture.init_weights()
        checkpoint = folder / 'epoch.pth'
        meta = dict(dataset_meta=dict(classes=[str(n) for n in range(10)], palette='random'))
        torch.save(dict(state_dict=algorithm.state_dict(), meta=meta), checkpoint)
        export_checkpoint(cfg, checkpoint, folder / 'export', batches=0)
        folders[task] = folder / 'export'
    return folders


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)


def built(folder: Path) -> nn.Module:
    """The model as mmengine's runner builds and loads it."""
    cfg = Config.fromfile(folder / 'compact.py')
    cfg.work_dir, cfg.load_from = str(folder / 'run'), str(folder / 'compact.pth')
    runner = Runner.from_cfg(cfg)
    runner.load_or_resume()
    return runner.model.eval()


def equal(one: nn.Module, other: nn.Module) -> bool:
    ones, others = one.state_dict(), other.state_dict()
    return ones.keys() == others.keys() and all(torch.equal(v, others[k]) for k, v in ones.items())


@pytest.mark.parametrize('task', TASKS)
def test_config_has_the_dense_layout(exports: dict[str, Path], tool: ModuleType, task: str) -> None:
    cfg = Config.fromfile(exports[task] / 'compact.py')
    dense = Config.fromfile(tool.ROOT / f'configs/demo/dense_{task}_digits.py')
    assert cfg.model.type == dense.model.type
    for key in ('backbone', 'test_cfg', 'neck', 'head', 'decode_head', 'roi_head'):
        assert cfg.model.get(key) == dense.model.get(key)


def open_classifier(config: str, weights: str) -> Any:
    from mmpretrain import get_model

    return get_model(Config.fromfile(config), pretrained=weights, device='cpu')


def open_detector(config: str, weights: str) -> Any:
    from mmdet.apis import init_detector

    return init_detector(config, weights, device='cpu')


def open_segmenter(config: str, weights: str) -> Any:
    from mmseg.apis import init_model

    return init_model(config, weights, device='cpu')


def open_pose(config: str, weights: str) -> Any:
    from mmpose.apis import init_model

    return init_model(config, weights, device='cpu')


OPEN = dict(zip(TASKS, (open_classifier, open_detector, open_segmenter, open_pose), strict=True))


@pytest.mark.parametrize('task', TASKS)
def test_apis(exports: dict[str, Path], task: str, image: np.ndarray) -> None:
    files = [str(exports[task] / f'compact.{ending}') for ending in ('py', 'pth')]
    model = OPEN[task](*files)
    assert equal(model, built(exports[task]))
    if task == 'resnet20':
        from mmpretrain import ImageClassificationInferencer

        assert ImageClassificationInferencer(model)(image)[0]['pred_label'] in range(10)
    elif task == 'faster-rcnn_r18':
        from mmdet.apis import inference_detector

        assert inference_detector(model, image).pred_instances.bboxes.shape[1] == 4
    elif task == 'fcn_r18':
        from mmseg.apis import inference_model as segment

        assert segment(model, image).pred_sem_seg.data.shape == (1, 96, 96)
    else:
        from mmpose.apis import inference_topdown

        (sample,) = inference_topdown(model, image)
        assert sample.pred_instances.keypoints.shape[0] == 1


def infer_classes(config: str, weights: str, image: np.ndarray) -> Any:
    from mmpretrain import ImageClassificationInferencer

    return ImageClassificationInferencer(config, weights, device='cpu')(image)[0]['pred_label']


def infer_boxes(config: str, weights: str, image: np.ndarray) -> Any:
    from mmdet.apis import DetInferencer

    inferencer = DetInferencer(config, weights, device='cpu', show_progress=False)
    return inferencer(image, return_datasamples=False)['predictions'][0]['bboxes']


def infer_labels(config: str, weights: str, image: np.ndarray) -> Any:
    from mmseg.apis import MMSegInferencer

    return MMSegInferencer(config, weights, device='cpu')(image)['predictions'].max()


def infer_keypoints(config: str, weights: str, image: np.ndarray) -> Any:
    from mmpose.apis import Pose2DInferencer

    inferencer = Pose2DInferencer(config, weights, device='cpu', det_model='whole_image')
    return next(inferencer(image))['predictions'][0][0]['keypoints']


INFER = dict(zip(TASKS, (infer_classes, infer_boxes, infer_labels, infer_keypoints), strict=True))


@pytest.mark.parametrize('task', TASKS)
def test_inferencers(exports: dict[str, Path], task: str, image: np.ndarray) -> None:
    files = [str(exports[task] / f'compact.{ending}') for ending in ('py', 'pth')]
    assert INFER[task](*files, image) is not None


@pytest.mark.parametrize('task', TASKS)
def test_other_classes(exports: dict[str, Path], task: str, tmp_path: Path) -> None:
    """A child config with other classes trains; the rest of the weights is the export's."""
    place, key = HEADS[task]
    part: dict[str, Any] = {key: 12}
    for name in reversed(place.split('.')):
        part = {name: part}
    child = tmp_path / 'child.py'
    base = str(exports[task] / 'compact.py')
    child.write_text(f'_base_ = {base!r}\nmodel = {part!r}\n')
    cfg = load_config(str(child))
    cfg.work_dir = str(tmp_path / 'work')
    model = check(cfg).model
    model.init_weights()
    before = built(exports[task]).state_dict()
    after = model.state_dict()
    other = [k for k, v in after.items() if v.shape != before[k].shape]
    assert other
    assert all(k.startswith(f'{place}.') for k in other)
    assert all(torch.equal(before[k], v) for k, v in after.items() if k not in other)


@pytest.mark.parametrize('task', TASKS)
def test_the_librarys_own_tools(
    exports: dict[str, Path], tool: ModuleType, task: str, tmp_path: Path
) -> None:
    """Its train.py goes on from an export, and its test.py evaluates both."""
    config, weights = (exports[task] / f'compact.{kind}' for kind in ('py', 'pth'))
    library = import_module(Config.fromfile(config).default_scope)
    tools = Path(library.__file__).parent / '.mim' / 'tools'
    options = ('--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_epochs=1')
    tool.succeed(str(tools / 'train.py'), config, *options)
    trained = (tmp_path / 'last_checkpoint').read_text()
    found = [
        json.loads(next(path.glob('*/*.json')).read_text())
        for path, checkpoint in ((tmp_path / 'a', trained), (tmp_path / 'b', weights))
        if tool.succeed(str(tools / 'test.py'), config, checkpoint, '--work-dir', path)
    ]
    assert found[0].keys() == found[1].keys()
    assert any(isinstance(value, float) for value in found[0].values())


@pytest.mark.parametrize('task', TASKS[:1])
def test_the_librarys_own_test_time_augmentation(
    exports: dict[str, Path], tool: ModuleType, task: str, tmp_path: Path
) -> None:
    config, weights = (exports[task] / f'compact.{kind}' for kind in ('py', 'pth'))
    library = import_module(Config.fromfile(config).default_scope)
    script = Path(library.__file__).parent / '.mim' / 'tools' / 'test.py'
    log = tool.succeed(str(script), config, weights, '--work-dir', tmp_path, '--tta')
    assert 'accuracy/top1' in log


@pytest.mark.parametrize('task', TASKS)
def test_a_runner_in_plain_python(exports: dict[str, Path], task: str, tmp_path: Path) -> None:
    """As mmengine's documentation shows it; the model of the runner is the exported one."""
    cfg = Config.fromfile(exports[task] / 'compact.py')
    cfg.work_dir, cfg.load_from = str(tmp_path), str(exports[task] / 'compact.pth')
    cfg.experiment_name = f'plain_{task}'
    metrics = Runner.from_cfg(cfg).test()
    assert metrics
    assert all(np.isfinite(value) or value == -1 for value in metrics.values())
