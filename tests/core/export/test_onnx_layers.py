"""core/export/onnx_layers.py: which nodes of an ONNX graph are a network's layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmcompress.core.export.onnx_layers import Network

pytestmark = pytest.mark.full


def two_stages() -> Any:
    """Two convolutions and a sum, boxes chosen by the third, and a layer around each box.

    images -> a (Relu) -> b -> sum with a -> Relu -> c -> TopK -> crops -> fc
                                             |___________________^
    c is used a second time, behind its first use.
    """
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> Any:
        array = generator.normal(size=shape).astype(np.float32)
        return numpy_helper.from_array(array, f'model.{name}.weight')

    node = helper.make_node
    nodes = [
        node('Conv', ['images', 'model.a.weight'], ['a'], kernel_shape=[1, 1]),
        node('Relu', ['a'], ['ra']),
        node('Conv', ['ra', 'model.b.weight'], ['b'], kernel_shape=[1, 1]),
        node('Add', ['b', 'ra'], ['sum']),
        node('Relu', ['sum'], ['rs']),
        node('Conv', ['rs', 'model.c.weight'], ['c1'], kernel_shape=[1, 1]),
        node('Conv', ['c1', 'model.c.weight'], ['c2'], kernel_shape=[1, 1]),
        # From here on nothing is a network's but `fc`.
        node('Reshape', ['c2', 'flat'], ['rows']),
        node('Add', ['rows', 'one'], ['decoded']),
        node('TopK', ['decoded', 'k'], ['best', 'which'], axis=1),
        node('Reshape', ['rs', 'flat'], ['features']),
        node('GatherElements', ['features', 'which'], ['crops'], axis=1),
        node('Gemm', ['crops', 'model.fc.weight'], ['out']),
    ]
    for number, one in enumerate(nodes):
        one.name = f'{one.op_type}_{number}'
    constants = [
        weights('a', 4, 3, 1, 1),
        weights('b', 4, 4, 1, 1),
        weights('c', 4, 4, 1, 1),
        weights('fc', 2, 5),
        numpy_helper.from_array(np.array([0, -1], dtype=np.int64), 'flat'),
        numpy_helper.from_array(np.ones(1, dtype=np.float32), 'one'),
        numpy_helper.from_array(np.array([2], dtype=np.int64), 'k'),
    ]
    graph = helper.make_graph(
        nodes,
        'two_stages',
        [helper.make_tensor_value_info('images', TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info('out', TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)])


def test_layers_are_named_and_counted() -> None:
    network = Network(two_stages())
    assert {layer.name: (layer.op, layer.weights) for layer in network.layers} == {
        'a': ('Conv', 12),
        'b': ('Conv', 16),
        'c': ('Conv', 16),
        'fc': ('Gemm', 10),
    }
    # Its activation goes with a layer; weights that are used twice are one layer.
    nodes = {layer.name: layer.nodes for layer in network.layers}
    assert nodes == dict(
        a=('Conv_0', 'Relu_1'), b=('Conv_2',), c=('Conv_5', 'Conv_6'), fc=('Gemm_12',)
    )


def test_choices_of_boxes_end_a_network() -> None:
    network = Network(two_stages())
    assert network.entries == ['images', 'crops']
    assert network.heads == ['c2', 'out']
    part = network.extracted()
    assert {node.op_type for node in part.graph.node} == {'Conv', 'Relu', 'Add', 'Gemm'}
    assert [value.name for value in part.graph.input] == network.entries


def test_what_lies_between_layers_goes_with_them() -> None:
    network = Network(two_stages())
    assert set(network.quantized_nodes()) == {
        'Conv_0', 'Relu_1', 'Conv_2', 'Add_3', 'Relu_4', 'Conv_5', 'Conv_6', 'Gemm_12',
    }  # fmt: skip
    assert {'Add_3', 'Relu_4'} <= set(network.quantized_nodes(['b']))
    assert set(network.quantized_nodes(['a', 'b'])) == {'Conv_5', 'Conv_6', 'Gemm_12'}
