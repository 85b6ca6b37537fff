"""The embedded data in the size and the layout of the public data sets that recipes train on.

A recipe reads these files as it reads the real ones: same folders, sizes of images, numbers of
classes and annotations. Only the pictures are others: digits, scenes of digits and photographs.
There are a few images of each, enough to see that a recipe runs and what a step of it costs.
CIFAR has no look-alike on disk, since mmpretrain checks the contents of its files;
:class:`~mmcompress.datasets.DigitsClassification` takes its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from .digits import draw, load_glyphs
from .scenes import CANVAS, make_scene
from .sr.images import read_image, write_png
from .sr.pairs import shrink
from .sr.photos import PHOTOS, photo_folder

#: Images in each part.
LENGTHS = {'train': 8, 'val': 2}
SPLITS = {'train': 'train', 'val': 'test'}

#: Sides of COCO's and Cityscapes' images, ``(width, height)``, and of sub-images of DIV2K.
COCO, CITYSCAPES, IMAGENET, SUB_IMAGE = (640, 480), (2048, 1024), (500, 375), 480


def imagenet(folder: Path) -> None:
    """``imagenet/{train,val}/*.JPEG`` and ``imagenet/meta/*.txt`` with labels of 1000 classes."""
    for part, length in LENGTHS.items():
        glyphs, labels = load_glyphs(SPLITS[part])
        images = draw(glyphs[:length], IMAGENET[::-1])
        lines = []
        for index, (image, label) in enumerate(zip(images, labels, strict=False)):
            name = f'{index:08}.JPEG'
            _write(folder / 'imagenet' / part / name, image)
            lines.append(f'{name} {int(label) * 100 + index}\n')
        meta = folder / 'imagenet' / 'meta' / f'{part}.txt'
        meta.parent.mkdir(parents=True, exist_ok=True)
        meta.write_text(''.join(lines), encoding='utf-8')


def coco(folder: Path, names: tuple[str, ...]) -> None:
    """``coco/{train,val}2017`` and the annotations of boxes, for classes of these names."""
    categories = [dict(id=number, name=name) for number, name in enumerate(names, 1)]

    def annotation(label: int, points: np.ndarray) -> dict:
        return dict(category_id=label + 1)

    _coco(folder, 'instances', categories, annotation)


def coco_pose(folder: Path, keypoints: int = 17) -> None:
    """``coco/{train,val}2017``, the annotations of key points, and the boxes of a detector."""
    names = [f'point {number}' for number in range(keypoints)]
    categories = [dict(id=1, name='person', keypoints=names, skeleton=[])]

    def annotation(label: int, points: np.ndarray) -> dict:
        triples = [[*points[number % len(points)].tolist(), 2] for number in range(keypoints)]
        flat = [value for triple in triples for value in triple]
        return dict(category_id=1, keypoints=flat, num_keypoints=keypoints)

    _coco(folder, 'person_keypoints', categories, annotation)
    found = json.loads((folder / 'coco/annotations/person_keypoints_val2017.json').read_text())
    boxes = [
        dict(image_id=one['image_id'], category_id=1, bbox=one['bbox'], score=1.0)
        for one in found['annotations']
    ]
    _write_json(
        folder / 'coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json', boxes
    )


def _coco(
    folder: Path,
    kind: str,
    categories: list[dict],
    annotation: Callable[[int, np.ndarray], dict],
) -> None:
    """Scenes on the left of images of COCO's size, and what is in them."""
    width, height = COCO
    zoom = height / CANVAS
    for part, length in LENGTHS.items():
        images: list[dict] = []
        annotations: list[dict] = []
        for index in range(length):
            scene = make_scene(SPLITS[part], index)
            image = np.zeros((height, width), np.uint8)
            image[:, :height] = cv2.resize(scene.image, (height, height))
            name = f'{index:012}.jpg'
            _write(folder / 'coco' / f'{part}2017' / name, image)
            images.append(dict(id=index, file_name=name, width=width, height=height))
            for digit in scene.digits:
                x1, y1, x2, y2 = (zoom * edge for edge in digit.box)
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=index,
                        bbox=[x1, y1, x2 - x1, y2 - y1],
                        area=(x2 - x1) * (y2 - y1),
                        iscrowd=0,
                        **annotation(digit.label, zoom * digit.keypoints),
                    )
                )
        _write_json(
            folder / f'coco/annotations/{kind}_{part}2017.json',
            dict(images=images, annotations=annotations, categories=categories),
        )


def cityscapes(folder: Path) -> None:
    """``cityscapes/{leftImg8bit,gtFine}/{train,val}``: scenes, the digits of class 1 to 10."""
    width, height = CITYSCAPES
    for part, length in LENGTHS.items():
        for index in range(length):
            scene = make_scene(SPLITS[part], index)
            stem = f'digits/digits_{index:06}_000019'
            image, labels = np.zeros((2, height, width), np.uint8)
            image[:, :height] = cv2.resize(scene.image, (height, height))
            labels[:, :height] = cv2.resize(
                scene.labels, (height, height), interpolation=cv2.INTER_NEAREST
            )
            root = folder / 'cityscapes'
            _write(root / 'leftImg8bit' / part / f'{stem}_leftImg8bit.png', image)
            _write(root / 'gtFine' / part / f'{stem}_gtFine_labelTrainIds.png', labels)


def div2k(folder: Path, scale: int) -> None:
    """Sub-images in ``DIV2K`` for a scale, and small test images in ``benchmark/Set5``."""
    photos = photo_folder()
    wide = ('astronaut.png', 'brick.png', 'grass.png', 'gravel.png')
    root = folder / 'DIV2K'
    for number, name in enumerate(wide, 1):
        image = read_image(photos / name)[:SUB_IMAGE, :SUB_IMAGE]
        file = f'{number:04}_s001.png'
        _write_pair(image, scale, root / 'DIV2K_train_HR_sub', _lq(root, scale), file)
    for name in PHOTOS['test'][: LENGTHS['val']]:
        image = read_image(photos / name)[100:196, 100:196]
        root = folder / 'benchmark/Set5'
        _write_pair(image, scale, root / 'HR', root / 'LR_bicubic' / f'X{scale}', name)


def _lq(root: Path, scale: int) -> Path:
    return root / 'DIV2K_train_LR_bicubic' / f'X{scale}_sub'


def _write_pair(image: np.ndarray, scale: int, high: Path, low: Path, name: str) -> None:
    for folder, pixels in ((high, image), (low, shrink(image, scale))):
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / name, pixels)


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding='utf-8')
