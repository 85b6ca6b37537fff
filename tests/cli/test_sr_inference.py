"""Arguments for tiles and self-ensembles: into which part of a config, and of which configs."""

import argparse

import pytest
import torch
from mmengine.config import Config

from mmcompress.cli.options import add_inference_arguments
from mmcompress.cli.sr_inference import apply_inference_arguments
from mmcompress.core.base.build import build_model
from mmcompress.core.errors import CompressionError


def dense(**settings):
    return dict(
        type='mmcompress.SuperResolver',
        backbone=dict(type='mmcompress.EDSR', num_blocks=1, width=16, scale=2),
        **settings,
    )


def basis(**settings):
    return dict(
        type='mmcompress.FilterBasis',
        architecture=dense(**settings),
        mutator_cfg=dict(
            type='FilterBasisMutator', parse_cfg=dict(rule='layer', include='backbone.blocks*')
        ),
        target_pruning_ratio=0.5,
    )


FORMS = dict(
    dense=dense,
    algorithm=basis,
    exported=lambda **s: dict(
        type='mmcompress.sub_model', cfg=dense(**s), fix_subnet=dict(layers={})
    ),
    compact=lambda **s: dict(type='mmcompress.sub_model', cfg=dense(**s), fix_subnet=basis()),
)


def apply(model, *arguments):
    parser = argparse.ArgumentParser()
    add_inference_arguments(parser)
    cfg = Config(dict(model=model))
    apply_inference_arguments(cfg, parser.parse_args([str(a) for a in arguments]))
    return cfg


@pytest.mark.parametrize('form', FORMS)
def test_settings_reach_the_model_in_every_form(form):
    cfg = apply(FORMS[form](test_cfg=dict(chop=dict(tile=9, overlap=5))), '--chop', 7)
    model = build_model(cfg)
    model = getattr(model, 'architecture', model)
    assert model.test_cfg == dict(chop=dict(tile=7, overlap=5), self_ensemble=False)
    cfg = apply(FORMS[form](), '--chop', '--self-ensemble')
    model = build_model(cfg)
    model = getattr(model, 'architecture', model)
    assert model.test_cfg == dict(chop=dict(tile=128, overlap=None), self_ensemble=True)


def test_predictions_change_with_them():
    torch.manual_seed(0)
    data = dict(inputs=[torch.rand(3, 20, 24) * 255])
    models = [build_model(apply(dense(), *given)) for given in ((), ('--self-ensemble',))]
    models[1].load_state_dict(models[0].state_dict())
    one, mean = (model.eval().test_step(data)[0].pred_img for model in models)
    assert one.shape == mean.shape == (3, 40, 48)
    assert (one - mean).abs().max() > 1e-2


def test_nothing_changes_without_them(classifier_cfg):
    assert 'test_cfg' not in apply(classifier_cfg()).model
    assert apply(dense(test_cfg=dict(self_ensemble=True))).model.test_cfg.self_ensemble


@pytest.mark.parametrize(
    ('arguments', 'names'),
    [
        (('--chop',), '--chop'),
        (('--self-ensemble',), '--self-ensemble'),
        (('--chop', 0, '--self-ensemble'), '--chop and --self-ensemble'),
    ],
)
def test_other_models_are_refused(classifier_cfg, arguments, names):
    model = dict(type='mmcompress.DCFF', architecture=classifier_cfg())
    with pytest.raises(CompressionError) as caught:
        apply(model, *arguments)
    assert str(caught.value).startswith(
        f"{names}: the model of the config is a 'mmpretrain.ImageClassifier'; only models"
    )


def test_a_tile_of_no_size_is_refused_as_in_a_config():
    with pytest.raises(CompressionError, match='test_cfg.chop.tile is 0; it has to be'):
        build_model(apply(dense(), '--chop', 0))
