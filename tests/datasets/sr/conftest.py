"""Folders of small images."""

import logging
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from mmcompress.datasets.sr.images import write_png
from mmcompress.datasets.sr.pairs import cut_to_multiple, shrink


@pytest.fixture(autouse=True)
def _scope():
    """Super-resolution needs no task library, so none is looked into for transforms."""
    with DefaultScope.overwrite_default_scope('mmengine'):
        yield


@pytest.fixture
def picture():
    """Factory of images ``uint8[height, width, 3]``, each number another one."""

    def make(number=0, height=24, width=32):
        # RandomState: its stream is frozen.
        return np.random.RandomState(number).randint(0, 256, (height, width, 3), dtype=np.uint8)

    return make


@pytest.fixture
def div2k(tmp_path: Path, picture):
    """Factory of folders laid out as DIV2K, scale 2: images 0001, 0002, ... of 24 rows and more."""

    def make(count=3):
        gt, lq = tmp_path / 'DIV2K_train_HR', tmp_path / 'DIV2K_train_LR_bicubic' / 'X2'
        gt.mkdir(parents=True)
        lq.mkdir(parents=True)
        for number in range(1, count + 1):
            # An odd number of rows in every second one.
            image = picture(number, height=23 + number)
            write_png(gt / f'{number:04d}.png', image)
            write_png(lq / f'{number:04d}x2.png', shrink(cut_to_multiple(image, 2), 2))
        return tmp_path

    return make


@pytest.fixture
def warnings():
    """Texts of warnings, as mmengine's logger gets them."""
    texts = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: texts.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield texts
    logger.removeHandler(handler)
