"""benchmarks/onnx_operators.py: operators of a network whose blocks add only some channels."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_operator_is_exotic():
    path = ROOT / 'benchmarks/onnx_operators.py'
    spec = importlib.util.spec_from_file_location('onnx_operators', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (row,) = module.rows(str(ROOT / 'configs/demo/fcf_resnet20_digits_factorize.py'), ['raw'])
    assert row[1:4] == ('tensor', 'batch, height, width', '-')
    assert 'Conv' in row[4].split(', ')
