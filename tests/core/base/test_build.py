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


def test_a_part_of_the_architecture_as_in_the_dense_config(classifier_cfg):
    """``--cfg-options model.head.num_classes=5`` beside ``--compress``."""
    model = dict(type='mmcompress.DCFF', architecture=classifier_cfg(), target_pruning_ratio=0.5)
    cfg = Config(dict(model=model))
    cfg.merge_from_dict({'model.head.num_classes': 5})
    assert build_model(cfg).architecture.head.fc.out_features == 5
    cfg.merge_from_dict({'model.haed.num_classes': 5})
    with pytest.raises(CompressionError, match="model.haed is neither .* 'head'"):
        build_model(cfg)
