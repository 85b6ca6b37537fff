"""datasets/lookalikes.py: files as the public data sets have them."""

import json

import cv2
import pytest

from mmcompress.datasets import lookalikes
from mmcompress.datasets.scenes import make_scene


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_imagenet(tmp_path):
    lookalikes.imagenet(tmp_path)
    for part, length in lookalikes.LENGTHS.items():
        lines = (tmp_path / f'imagenet/meta/{part}.txt').read_text().splitlines()
        assert len(lines) == length
        for line in lines:
            name, label = line.split()
            assert read(tmp_path / 'imagenet' / part / name).shape == (375, 500)
            assert 0 <= int(label) < 1000


@pytest.mark.parametrize('pose', [False, True])
def test_coco(tmp_path, pose):
    """Boxes and points lie on the digits: those of the scene, five times as large."""
    if pose:
        lookalikes.coco_pose(tmp_path)
    else:
        lookalikes.coco(tmp_path, tuple('abcdefghijk'))
    kind = 'person_keypoints' if pose else 'instances'
    content = json.loads((tmp_path / f'coco/annotations/{kind}_val2017.json').read_text())
    assert [one['file_name'] for one in content['images']] == [
        '000000000000.jpg',
        '000000000001.jpg',
    ]
    assert content['categories'][0]['name'] == ('person' if pose else 'a')
    image = read(tmp_path / 'coco/val2017/000000000000.jpg')
    assert image.shape == (480, 640)
    found = [one for one in content['annotations'] if one['image_id'] == 0]
    for one, digit in zip(found, make_scene('test', 0).digits, strict=True):
        x, y, width, height = one['bbox']
        assert [x, y, x + width, y + height] == [5 * edge for edge in digit.box]
        assert image[round(y) : round(y + height), round(x) : round(x + width)].max() > 200
        if pose:
            assert len(one['keypoints']) == 51
            assert one['keypoints'][:2] == pytest.approx(5 * digit.keypoints[0])
        else:
            assert one['category_id'] == digit.label + 1
    if pose:
        name = 'COCO_val2017_detections_AP_H_56_person.json'
        boxes = json.loads((tmp_path / 'coco/person_detection_results' / name).read_text())
        assert [box['bbox'] for box in boxes] == [one['bbox'] for one in content['annotations']]


def test_cityscapes(tmp_path):
    lookalikes.cityscapes(tmp_path)
    root = tmp_path / 'cityscapes'
    images = sorted((root / 'leftImg8bit/train').rglob('*_leftImg8bit.png'))
    assert len(images) == lookalikes.LENGTHS['train']
    labels = str(images[0]).replace('leftImg8bit', 'gtFine', 1)
    labels = read(labels.replace('_leftImg8bit', '_gtFine_labelTrainIds'))
    assert labels.shape == read(images[0]).shape == (1024, 2048)
    assert set(labels.ravel()) == set(make_scene('train', 0).labels.ravel())


def test_div2k(tmp_path):
    lookalikes.div2k(tmp_path, 3)
    high = sorted((tmp_path / 'DIV2K/DIV2K_train_HR_sub').iterdir())
    assert len(high) == 4
    for path in high:
        low = tmp_path / 'DIV2K/DIV2K_train_LR_bicubic/X3_sub' / path.name
        assert (read(path).shape, read(low).shape) == ((480, 480, 3), (160, 160, 3))
    low = tmp_path / 'benchmark/Set5/LR_bicubic/X3/camera.png'
    assert read(low).shape == (32, 32, 3)
