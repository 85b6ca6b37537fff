"""tools/export.py on super-resolution: the exported model runs as it is, ONNX at any size."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmcompress.cli.launch import read_config
from mmcompress.core.export.sessions import session

CONFIG = 'configs/pruning/mmsr/filter_basis/filter_basis_s64-b14_srresnet_x4_300e_div2k.py'


def test_export_and_onnx_at_any_size(tool: ModuleType, tmp_path: Path) -> None:
    """Weights at random, as of a training that has just begun; no data to compare on."""
    options = ['model.architecture.backbone.num_blocks=2', 'val_dataloader=None']
    cfg = read_config(str(tool.ROOT / CONFIG))
    cfg.merge_from_dict({'model.architecture.backbone.num_blocks': 2})
    with DefaultScope.overwrite_default_scope('mmengine'):
        algorithm = MODELS.build(cfg.model)
    for module in algorithm.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.uniform_(-1, 1)
    torch.nn.init.constant_(algorithm.architecture.backbone.act.weight, 0.1)
    torch.save(dict(state_dict=algorithm.state_dict()), tmp_path / 'epoch_1.pth')
    out = tmp_path / 'out'
    arguments = [CONFIG, tmp_path / 'epoch_1.pth', '-o', out, '--onnx', '--shape', 12, 20, '--json']
    result = json.loads(
        tool.succeed('export', *arguments, '--batches', 0, '--cfg-options', *options)
    )
    assert result['max_difference'] < 1e-5
    assert result['free'] == ['batch', 'height', 'width']
    exported = Config.fromfile(out / 'compact.py')
    with DefaultScope.overwrite_default_scope('mmengine'):
        static = MODELS.build(exported.model)
    static.init_weights()
    static.eval(), algorithm.eval()
    run = session(out / 'compact.onnx', threads=1)
    for shape in ((1, 3, 10, 7), (2, 3, 21, 30)):
        images = 255 * torch.rand(shape)
        with torch.no_grad():
            expected, found = algorithm.architecture(images), static(images)
        assert expected.shape[2:] == (4 * shape[2], 4 * shape[3])
        scale = float(expected.abs().max())
        assert float((found - expected).abs().max()) < 1e-5 * scale
        assert float((torch.from_numpy(run(images)[0]) - expected).abs().max()) < 1e-4 * scale
