"""The digits as files that don't exist: a COCO and a Cityscapes folder drawn when they are read.

Every OpenMMLab library reads its data through mmengine's file backends. The one here answers to
``digits://``, so that the libraries' own data sets, loading steps, metrics and visualizers work
on the embedded scenes as on any other data, and nothing has to be on the disk::

    digits://coco/annotations/instances_train.json    boxes, ten categories
    digits://coco/annotations/keypoints_train.json    boxes and key points, one category
    digits://coco/images/train/000000.png
    digits://cityscapes/leftImg8bit/train/digits/digits_000000_leftImg8bit.png
    digits://cityscapes/gtFine/train/digits/digits_000000_gtFine_labelTrainIds.png

and the same with ``val``. ``tools/make_digits.py`` writes this tree to a real folder.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from mmengine.fileio import BaseStorageBackend, register_backend

from ..core.errors import nearest
from .digits import CLASSES
from .scenes import CANVAS, KEYPOINTS, Digit, make_scene

PREFIX = 'digits'
LENGTHS = {'train': 480, 'val': 160}
"""Scenes in each part."""
SPLITS = {'train': 'train', 'val': 'test'}
"""The split whose glyphs a part is made of."""
TASKS = {
    'detection': ('instances', 'image'),
    'segmentation': ('street', 'labels'),
    'pose': ('keypoints', 'image'),
}
"""The kinds of files that each task needs."""

_PATHS = {
    'instances': 'coco/annotations/instances_{part}.json',
    'keypoints': 'coco/annotations/keypoints_{part}.json',
    'image': 'coco/images/{part}/{index:06}.png',
    'street': 'cityscapes/leftImg8bit/{part}/digits/digits_{index:06}_leftImg8bit.png',
    'labels': 'cityscapes/gtFine/{part}/digits/digits_{index:06}_gtFine_labelTrainIds.png',
}


def file_names(*tasks: str) -> list[str]:
    """Paths of the files that some tasks need, all tasks by default.

    Args:
        *tasks: Of :data:`TASKS`.

    Returns:
        Paths without the ``digits://``, sorted, each once.
    """
    kinds = {kind for task in tasks or TASKS for kind in TASKS[task]}
    return sorted(name for name, (kind, *_) in _tree().items() if kind in kinds)


@lru_cache(maxsize=1)
def _tree() -> dict[str, tuple[str, str, int]]:
    """Every file: its kind, its part, and the number of its scene (0 for annotations)."""
    return {
        path.format(part=part, index=index): (kind, part, index)
        for kind, path in _PATHS.items()
        for part, length in LENGTHS.items()
        for index in range(length if '{index' in path else 1)
    }


def read(name: str) -> bytes:
    """Contents of a file.

    Args:
        name: Its path, without the ``digits://``.

    Returns:
        A PNG image (grey) or JSON.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if name not in _tree():
        raise FileNotFoundError(
            f'the digits have no file {name!r}; the nearest are {nearest(name, _tree())}'
        )
    kind, part, index = _tree()[name]
    if kind in ('instances', 'keypoints'):
        return json.dumps(_coco(part, kind == 'keypoints')).encode()
    scene = make_scene(SPLITS[part], index)
    return _png(scene.labels if kind == 'labels' else scene.image)


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode('.png', image)[1].tobytes()


def _coco(part: str, keypoints: bool) -> dict:
    """COCO annotations of a part: images and categories count from 0 and 1, as COCO's do."""
    images: list[dict] = []
    annotations: list[dict] = []
    for index in range(LENGTHS[part]):
        file_name = Path(_PATHS['image'].format(part=part, index=index)).name
        images.append(dict(id=index, file_name=file_name, width=CANVAS, height=CANVAS))
        for digit in make_scene(SPLITS[part], index).digits:
            annotation = dict(id=len(annotations) + 1, image_id=index)
            annotations.append(annotation | _annotation(digit, keypoints))
    if keypoints:
        categories = [dict(id=1, name='digit', keypoints=list(KEYPOINTS), skeleton=[])]
    else:
        categories = [dict(id=number, name=name) for number, name in enumerate(CLASSES, 1)]
    return dict(images=images, annotations=annotations, categories=categories)


def _annotation(digit: Digit, keypoints: bool) -> dict:
    x1, y1, x2, y2 = digit.box
    width, height = x2 - x1, y2 - y1
    known = dict(bbox=[x1, y1, width, height], area=width * height, iscrowd=0)
    if not keypoints:
        return dict(category_id=digit.label + 1, **known)
    visible = 2
    triples = [[round(x, 2), round(y, 2), visible] for x, y in digit.keypoints.tolist()]
    return dict(
        category_id=1,
        keypoints=[value for triple in triples for value in triple],
        num_keypoints=len(triples),
        **known,
    )


@register_backend(PREFIX, prefixes=PREFIX)
class DigitsBackend(BaseStorageBackend):
    """mmengine's file operations on ``digits://``; it can be read only."""

    @staticmethod
    def _name(path: str | Path) -> str:
        return str(path).removeprefix(f'{PREFIX}://').strip('/')

    @classmethod
    def _folder(cls, path: str | Path) -> str:
        """What the names of all files in a folder begin with."""
        name = cls._name(path)
        return f'{name}/' if name else ''

    def get(self, filepath: str | Path) -> bytes:
        """Contents of a file; raises FileNotFoundError."""
        return read(self._name(filepath))

    def get_text(self, filepath: str | Path, encoding: str = 'utf-8') -> str:
        """Contents of a text file; raises FileNotFoundError."""
        return self.get(filepath).decode(encoding)

    def isfile(self, filepath: str | Path) -> bool:
        """Whether there is such a file."""
        return self._name(filepath) in _tree()

    def isdir(self, filepath: str | Path) -> bool:
        """Whether there is such a folder."""
        folder = self._folder(filepath)
        return any(name.startswith(folder) for name in _tree())

    def exists(self, filepath: str | Path) -> bool:
        """Whether there is such a file or folder."""
        return self.isfile(filepath) or self.isdir(filepath)

    def join_path(self, filepath: str | Path, *filepaths: str | Path) -> str:
        """Join parts of a path."""
        return '/'.join([str(filepath).rstrip('/'), *(str(part).strip('/') for part in filepaths)])

    @contextmanager
    def get_local_path(self, filepath: str | Path) -> Iterator[str]:
        """A copy on disk, for readers that know nothing of mmengine; gone afterwards."""
        content = self.get(filepath)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / Path(self._name(filepath)).name
            copy.write_bytes(content)
            yield str(copy)

    def list_dir_or_file(
        self,
        dir_path: str | Path,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: str | tuple[str, ...] | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """Paths in a folder, relative to it, as mmengine's local backend lists them.

        Raises:
            FileNotFoundError: If there is no such folder.
        """
        if not self.isdir(dir_path):
            raise FileNotFoundError(f'the digits have no folder {self._name(dir_path)!r}')
        folder = self._folder(dir_path)
        inside = [name.removeprefix(folder) for name in _tree() if name.startswith(folder)]
        folders = {str(parent) for name in inside for parent in Path(name).parents} - {'.'}
        listed = [*(inside if list_file else ()), *(folders if list_dir and not suffix else ())]
        for name in sorted(listed):
            if (recursive or '/' not in name) and name.endswith(suffix or ''):
                yield name
