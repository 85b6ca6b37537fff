"""``digits://``: mmengine's file operations, and the libraries' own data sets on top of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine import fileio
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, DefaultScope
from mmengine.runner import Runner

from mmcompress.datasets.files import LENGTHS, file_names, read
from mmcompress.datasets.scenes import make_scene

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'
LIBRARY = dict(detection='mmdet', segmentation='mmseg', pose='mmpose')


@pytest.fixture
def config(request):
    """A task's data config, in the scope in which it is used."""
    library = LIBRARY[request.param]
    pytest.importorskip(f'{library}.datasets')
    with DefaultScope.overwrite_default_scope(library):
        yield Config.fromfile(CONFIGS / f'digits_{request.param}.py')


def _image(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_images_and_labels_are_those_of_the_scenes():
    for part, split in (('train', 'train'), ('val', 'test')):
        scene = make_scene(split, 7)
        assert (_image(read(f'coco/images/{part}/000007.png')) == scene.image).all()
        stem = f'{part}/digits/digits_000007'
        street = read(f'cityscapes/leftImg8bit/{stem}_leftImg8bit.png')
        assert (_image(street) == scene.image).all()
        labels = read(f'cityscapes/gtFine/{stem}_gtFine_labelTrainIds.png')
        assert (_image(labels) == scene.labels).all()


def test_file_operations():
    root = 'digits://coco/annotations'
    assert fileio.exists(root)
    assert fileio.isdir(root)
    assert not fileio.isfile(root)
    assert not fileio.exists('digits://coco/anno')
    path = fileio.join_path(root, 'instances_val.json')
    assert path == 'digits://coco/annotations/instances_val.json'
    assert fileio.isfile(path)
    assert fileio.get(path) == fileio.get_text(path).encode()
    with fileio.get_local_path(path) as copy:
        assert Path(copy).read_bytes() == fileio.get(path)
    assert not Path(copy).exists()


@pytest.fixture(scope='module')
def empty_files(tmp_path_factory):
    """The same tree on disk, without contents."""
    root = tmp_path_factory.mktemp('tree')
    for name in file_names():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(recursive=True),
        dict(recursive=True, list_file=False),
        dict(list_dir=False),
        dict(list_dir=False, recursive=True, suffix='.json'),
        dict(list_dir=False, recursive=True, suffix=('labelTrainIds.png', '.json')),
    ],
)
@pytest.mark.parametrize('folder', ['', 'coco', 'coco/annotations', 'cityscapes/gtFine/val'])
def test_listing_equals_that_of_a_real_folder(empty_files, folder, options):
    real = fileio.list_dir_or_file(str(empty_files / folder), **options)
    assert list(fileio.list_dir_or_file(f'digits://{folder}', **options)) == sorted(real)


def test_unknown_files():
    with pytest.raises(FileNotFoundError, match=r"no file 'coco/images/val/000160.png'; the near"):
        fileio.get('digits://coco/images/val/000160.png')
    with pytest.raises(FileNotFoundError, match="no folder 'coco/labels'"):
        list(fileio.list_dir_or_file('digits://coco/labels'))


def test_files_by_task():
    assert len(file_names('detection')) == sum(LENGTHS.values()) + 2
    assert len(file_names('segmentation')) == 2 * sum(LENGTHS.values())
    shared = set(file_names('detection')) & set(file_names('pose'))
    assert len(shared) == sum(LENGTHS.values())
    assert len(file_names()) == 3 * sum(LENGTHS.values()) + 4
    assert len(set(file_names())) == len(file_names())


@pytest.mark.parametrize('config', ['detection'], indirect=True)
def test_mmdet_reads_the_scenes(config):
    for part in ('train', 'val'):
        dataset = DATASETS.build(config[f'{part}_dataloader'].dataset)
        assert len(dataset) == LENGTHS[part]
        for index in (0, 11):
            scene = make_scene('train' if part == 'train' else 'test', index)
            info = dataset.get_data_info(index)
            found = [(i['bbox_label'], tuple(i['bbox'])) for i in info['instances']]
            assert found == [(digit.label, digit.box) for digit in scene.digits]
    packed = dataset[11]
    assert (packed['inputs'].numpy() == scene.image).all()
    assert packed['data_samples'].gt_instances.labels.tolist() == [d.label for d in scene.digits]


@pytest.mark.parametrize('config', ['segmentation'], indirect=True)
def test_mmseg_reads_the_scenes(config):
    dataset = DATASETS.build(config.val_dataloader.dataset)
    assert len(dataset) == LENGTHS['val']
    packed = dataset[11]
    scene = make_scene('test', 11)
    assert (packed['inputs'].numpy() == scene.image).all()
    assert (packed['data_samples'].gt_sem_seg.data[0].numpy() == scene.labels).all()
    batch = next(iter(Runner.build_dataloader(config.train_dataloader)))
    assert batch['inputs'][0].shape == (3, 64, 64)


@pytest.mark.parametrize('config', ['pose'], indirect=True)
def test_mmpose_reads_the_scenes(config):
    dataset = DATASETS.build(config.val_dataloader.dataset)
    digits = [
        digit for index in range(LENGTHS['val']) for digit in make_scene('test', index).digits
    ]
    assert len(dataset) == len(digits)
    for index in (0, 100):
        info = dataset.get_data_info(index)
        assert info['keypoints'][0] == pytest.approx(digits[index].keypoints, abs=0.006)
        sample = dataset[index]['data_samples']
        assert sample.gt_instances.keypoints_visible.all()
        assert sample.metainfo['input_size'] == (64, 64)


@pytest.mark.parametrize('config', ['pose'], indirect=True)
def test_pose_targets_peak_at_the_keypoints(config):
    np.random.seed(0)
    batch = next(iter(Runner.build_dataloader(config.train_dataloader)))
    heatmaps = batch['data_samples'][0].gt_fields.heatmaps
    assert heatmaps.shape == (5, 16, 16)
    assert (heatmaps.flatten(1).amax(1) > 0.8).all()


@pytest.mark.parametrize('config', ['detection', 'pose'], indirect=True)
def test_perfect_predictions_score_one(config):
    """Ground truth of the metric and of the data set are one and the same."""
    from mmengine.structures import InstanceData

    dataset = DATASETS.build(config.val_dataloader.dataset)
    metrics = config.val_evaluator
    for metric in metrics if isinstance(metrics, list) else [metrics]:
        metric = METRICS.build(metric)
        metric.dataset_meta = dataset.metainfo
        for index in range(len(dataset)):
            sample = dataset[index]['data_samples']
            truth = sample.gt_instances
            if 'keypoints' in truth:
                sample.pred_instances = InstanceData(
                    keypoints=truth.keypoints, keypoint_scores=truth.keypoints_visible
                )
            else:
                scale = truth.bboxes.new_ones(len(truth))
                sample.pred_instances = InstanceData(
                    bboxes=truth.bboxes.tensor, labels=truth.labels, scores=scale
                )
            metric.process({}, [sample.to_dict()])
        scores = metric.evaluate(len(metric.results))
        main = next(iter(scores))
        assert main in ('coco/bbox_mAP', 'coco/AP', 'PCK')
        assert scores[main] == pytest.approx(1)
