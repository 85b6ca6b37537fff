"""What the models of every task are compared by, when the config doesn't say."""

from pathlib import Path

import mmdet  # noqa: F401  (this file needs the libraries of all tasks)
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmcompress.core.base.build import build_architecture
from mmcompress.core.distillation.distiller import LOSS
from mmcompress.core.export.checkpoint import load_teacher
from mmcompress.core.probe.demo_inputs import demo_batch

DEMOS = Path(__file__).parents[3] / 'configs' / 'demo'
#: Demo and method to what is compared, and how. DCFF narrows the last stage of backbones.
COMPARED = {
    ('resnet20_digits', 'FCF'): {'head': 'logits'},
    ('faster-rcnn_r18_digits', 'DCFF'): {'neck': 'pkd'},
    ('fcn_r18_digits', 'FCF'): {'backbone': 'pkd'},
    ('fcn_r18_digits', 'DCFF'): {'decode_head.conv_seg': 'pkd'},
    ('heatmap_r18_digits', 'DCFF'): {'head.final_layer': 'pkd'},
    ('edsr_x2_photos', 'FilterBasis'): {'backbone': 'l1'},
}


@pytest.mark.parametrize(('demo', 'method'), COMPARED)
def test_what_is_compared(demo, method, tmp_path):
    cfg = Config.fromfile(DEMOS / f'dense_{demo}.py')
    preprocessor = cfg.get('data_preprocessor')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        dense = build_architecture(cfg.model, preprocessor)
        torch.save(dense.state_dict(), tmp_path / 'dense.pth')
        model = MODELS.build(
            dict(
                type=f'mmcompress.{method}', architecture=cfg.model, target_pruning_ratio=0.5,
                data_preprocessor=preprocessor,
                distill=dict(teacher=str(tmp_path / 'dense.pth')),
            )
        ).train()  # fmt: skip
        load_teacher(model)
        inputs, samples = demo_batch(model.architecture, (2, 3, 64, 64), 'loss')
        losses = model(inputs, samples, mode='loss')
    assert model.distiller.layers == COMPARED[demo, method]
    assert losses[LOSS] > 0
    losses[LOSS].backward()
    first = next(model.architecture.backbone.parameters())
    assert first.grad.abs().sum() > 0
