"""core/base/build.py: what is said of a config that builds nothing."""

import pytest
from mmengine.config import Config

from mmcompress.core import CompressionError
from mmcompress.core.base.build import build_model


def test_a_key_that_the_model_does_not_have(tiny_cfg):
    """The error says which there are: exports used to have others."""
    cfg = Config(dict(model=dict(tiny_cfg, num_classes=3, cfg=dict(num_classes=12))))
    with pytest.raises(CompressionError, match="'cfg'; the keys of model are num_classes$"):
        build_model(cfg)
    cfg.model.pop('cfg')
    assert build_model(cfg).head.out_features == 3
