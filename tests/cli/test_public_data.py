"""cli/public_data.py: where recipes read, and what they miss."""

from pathlib import Path

import pytest

import mmcompress  # noqa: F401

# isort: split
from mmengine.config import Config

from mmcompress.cli.public_data import check_data, move_data, training_images
from mmcompress.core import CompressionError


def config(**dataset):
    return Config(dict(train_dataloader=dict(dataset=dict(dataset))))


def touch(root, *names):
    for name in names:
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


#: A data set, a file or folder that it lacks at first, and then all that it needs.
DATA = {
    'CIFAR10': (
        dict(type='CIFAR10', data_root='data/cifar10'),
        'cifar10/cifar-10-batches-py/data_batch_1',
        [f'cifar10/cifar-10-batches-py/data_batch_{i}' for i in range(1, 6)]
        + ['cifar10/cifar-10-batches-py/test_batch'],
    ),
    'CIFAR100': (
        dict(type='mmpretrain.CIFAR100', data_root='data/cifar100/'),
        'cifar100/cifar-100-python/train',
        [f'cifar100/cifar-100-python/{name}' for name in ('train', 'test', 'meta')],
    ),
    'ImageNet': (
        dict(type='ImageNet', data_root='data/imagenet', split='val'),
        'imagenet/val',
        ['imagenet/val/1.JPEG', 'imagenet/meta/val.txt'],
    ),
    'COCO': (
        dict(
            type='CocoDataset',
            data_root='data/coco/',
            ann_file='annotations/instances_train2017.json',
            data_prefix=dict(img='train2017/'),
        ),
        'coco/annotations/instances_train2017.json',
        ['coco/annotations/instances_train2017.json', 'coco/train2017/1.jpg'],
    ),
    'COCO pose': (
        dict(
            type='CocoDataset',
            data_mode='topdown',
            data_root='data/coco/',
            ann_file='annotations/person_keypoints_val2017.json',
            bbox_file='data/coco/person_detection_results/boxes.json',
            data_prefix=dict(img='val2017/'),
        ),
        'coco/annotations/person_keypoints_val2017.json',
        [
            'coco/annotations/person_keypoints_val2017.json',
            'coco/person_detection_results/boxes.json',
            'coco/val2017/1.jpg',
        ],
    ),
    'Cityscapes': (
        dict(
            type='CityscapesDataset',
            data_root='data/cityscapes/',
            data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        ),
        'cityscapes/leftImg8bit/train/*/*_leftImg8bit.png',
        [
            'cityscapes/leftImg8bit/train/a/1_leftImg8bit.png',
            'cityscapes/gtFine/train/a/1_gtFine_labelTrainIds.png',
        ],
    ),
    'DIV2K': (
        dict(
            type='mmcompress.SRFolders',
            data_root='data/DIV2K',
            gt_folder='HR_sub',
            lq_folder='LR/X4_sub',
        ),
        'DIV2K/HR_sub',
        ['DIV2K/HR_sub/1.png', 'DIV2K/LR/X4_sub/1.png'],
    ),
    'Fashion-MNIST': (
        dict(type='FashionMNIST', data_root='data/fashion_mnist'),
        'fashion_mnist/train-images-idx3-ubyte',
        [
            f'fashion_mnist/{part}-{kind}-ubyte'
            for part in ('train', 't10k')
            for kind in ('images-idx3', 'labels-idx1')
        ],
    ),
}


@pytest.mark.parametrize('name', DATA)
def test_what_is_missing(tmp_path, name):
    """First all of it, then each file in turn."""
    dataset, first, files = DATA[name]
    cfg = config(**dataset)
    move_data(cfg, tmp_path)
    with pytest.raises(CompressionError, match=r'--data: ') as found:
        check_data([cfg])
    assert f"'{tmp_path / first}'" in str(found.value)
    touch(tmp_path, *files)
    check_data([cfg])
    for file in files:
        (tmp_path / file).unlink()
        with pytest.raises(CompressionError, match=Path(file).parts[0]):
            check_data([cfg])
        touch(tmp_path, file)


def test_classes_of_imagenet_as_folders(tmp_path):
    cfg = config(type='ImageNet', data_root=str(tmp_path), split='train')
    touch(tmp_path, *(f'train/n{i:04}/1.JPEG' for i in range(999)))
    with pytest.raises(CompressionError, match=r'meta/train\.txt'):
        check_data([cfg])
    touch(tmp_path, 'train/n0999/1.JPEG')
    check_data([cfg])


def test_low_resolution_test_images_may_be_missing(tmp_path):
    dataset = dict(type='SRFolders', gt_folder='HR', lq_folder='LR', test_mode=True)
    touch(tmp_path, 'HR/1.png')
    check_data([config(data_root=str(tmp_path), **dataset)])


def test_paths_of_evaluators_move_too():
    cfg = Config(
        dict(
            test_evaluator=[dict(type='CocoMetric', ann_file='data/coco/annotations/x.json')],
            val_dataloader=dict(dataset=dict(data_root='data/coco/', other='mydata/x')),
        )
    )
    move_data(cfg, Path('/d'))
    assert cfg.test_evaluator[0].ann_file == '/d/coco/annotations/x.json'
    assert cfg.val_dataloader.dataset == dict(data_root='/d/coco/', other='mydata/x')


def test_sizes():
    assert training_images(config(type='mmpretrain.CIFAR10', data_root='/x/cifar10')) == 50000
    pose = config(type='CocoDataset', data_root='/x/coco/', data_mode='topdown')
    assert training_images(pose) == 149813
    with pytest.raises(CompressionError, match=r"'Photos' in 'x'.*CIFAR10"):
        training_images(config(type='mmcompress.Photos', data_root='x'))
