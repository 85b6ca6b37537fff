"""Layers with weights in an ONNX graph, and the network that they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

#: Nodes with weights that runtimes have integer kernels for. onnxruntime has none of transposed
#: convolutions on the CPU.
WEIGHTED = ('Conv', 'Gemm', 'MatMul')
#: Activation functions that runtimes make a part of the integer kernel in front of them.
ACTIVATIONS = ('Relu', 'Clip')
#: Other nodes with integer kernels, or none but copying, which stay in integers between layers.
BETWEEN = (
    *ACTIVATIONS,
    'Add',
    'AveragePool',
    'Concat',
    'Flatten',
    'Gather',
    'GlobalAveragePool',
    'MaxPool',
    'Pad',
    'Reshape',
    'Resize',
    'Slice',
    'Squeeze',
    'Transpose',
    'Unsqueeze',
)
#: Nodes whose first input alone is data; the others are sizes and indices.
FIRST_ALONE = (
    'Expand',
    'Gather',
    'Pad',
    'Reshape',
    'Resize',
    'Slice',
    'Squeeze',
    'Tile',
    'Unsqueeze',
)
#: Nodes whose outputs follow their inputs smoothly. What others compute (choices of boxes, and
#: features around them) can jump, so errors are not followed through them.
SMOOTH = (
    *WEIGHTED,
    *BETWEEN,
    'BatchNormalization',
    'Cast',
    'ConvTranspose',
    'DepthToSpace',
    'Div',
    'Dropout',
    'Elu',
    'Erf',
    'Exp',
    'Expand',
    'Gelu',
    'GroupNormalization',
    'HardSigmoid',
    'HardSwish',
    'Identity',
    'InstanceNormalization',
    'LayerNormalization',
    'LeakyRelu',
    'Mish',
    'Mul',
    'Neg',
    'PRelu',
    'Pow',
    'Reciprocal',
    'ReduceMax',
    'ReduceMean',
    'ReduceSum',
    'Sigmoid',
    'Softmax',
    'Softplus',
    'SpaceToDepth',
    'Split',
    'Sqrt',
    'Sub',
    'Swish',
    'Tanh',
    'Tile',
)


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    Attributes:
        name: That of the layer in PyTorch, as far as the file has it.
        op: The type of its nodes.
        weights: How many it has.
        nodes: Names of its nodes: several, where the same weights are used several times; and of
            the activation functions behind.
    """

    name: str
    op: str
    weights: int
    nodes: tuple[str, ...]


class Network:
    """The part of an ONNX graph that its layers with weights make.

    Post-processing is no part of it. Where a graph chooses boxes in its middle, as two-stage
    detectors do, what is computed around the boxes is an entry like the images.

    Args:
        model: An ``onnx.ModelProto``. Nodes without a name get one.

    Attributes:
        layers: In the order of the graph.
        entries: Tensors that enter, the graph's inputs first.
        heads: The tensors that leave: outputs of layers that no other layer takes.
        types: Types of the nodes that are quantized.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        graph = model.graph
        for number, node in enumerate(graph.node):
            node.name = node.name or f'{node.op_type}_{number}'
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._constants |= {n.output[0]: n for n in graph.node if n.op_type == 'Constant'}
        self._producer = {name: node for node in graph.node for name in node.output}
        self._consumers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self._consumers.setdefault(name, []).append(node)
        weighted = [node for node in graph.node if self._is_weighted(node)]
        inside, cut = self._behind(weighted)
        inputs = [value.name for value in graph.input if value.name not in self._constants]
        self.entries = [*inputs, *(name for name in cut if name not in inputs)]
        self._activations = {node.name: self._activation(node) for node in weighted}
        self.layers = self._layers(weighted)
        self.heads = self._heads(weighted, inside)
        self._upstream = self._between(weighted)
        used = {node.op_type for node in weighted} | set(BETWEEN)
        self.types = sorted(used)

    def _is_weighted(self, node: Any) -> bool:
        return (
            node.op_type in WEIGHTED
            and not node.domain
            and len(node.input) > 1
            and node.input[1] in self._constants
            and node.input[0] not in self._constants
        )

    def _data(self, node: Any) -> Iterator[str]:
        """The inputs of a node that are data."""
        names = node.input[:1] if node.op_type in FIRST_ALONE else node.input
        return (name for name in names if name and name not in self._constants)

    def _is_smooth(self, node: Any) -> bool:
        if node.domain or node.op_type not in SMOOTH:
            return False
        # Indices that are computed are a choice.
        return node.op_type != 'Gather' or node.input[1] in self._constants

    def _behind(self, weighted: list[Any]) -> tuple[set[str], list[str]]:
        """The nodes that layers depend on smoothly, and the tensors where that begins."""
        inside = {node.name for node in weighted}
        cut: list[str] = []
        todo = [name for node in weighted for name in self._data(node)]
        while todo:
            name = todo.pop(0)
            node = self._producer.get(name)
            if node is None or not self._is_smooth(node):
                if name not in cut:
                    cut.append(name)
            elif node.name not in inside:
                inside.add(node.name)
                todo += self._data(node)
        return inside, cut

    def _activation(self, node: Any) -> Any:
        """The activation function behind a layer, if nothing else uses what the layer returns."""
        following = self._consumers.get(node.output[0], [])
        if len(following) == 1 and following[0].op_type in ACTIVATIONS:
            return following[0]
        return None

    def _layers(self, weighted: list[Any]) -> list[Layer]:
        by_weights: dict[str, list[Any]] = {}
        for node in weighted:
            by_weights.setdefault(node.input[1], []).append(node)
        layers = []
        for name, nodes in by_weights.items():
            behind = [self._activations[node.name] for node in nodes]
            names = [node.name for node in (*nodes, *behind) if node is not None]
            layers.append(
                Layer(_layer_name(name), nodes[0].op_type, self._size(name), tuple(names))
            )
        return layers

    def _size(self, name: str) -> int:
        from onnx import numpy_helper

        constant = self._constants[name]
        if hasattr(constant, 'attribute'):
            constant = constant.attribute[0].t
        return int(numpy_helper.to_array(constant).size)

    def _heads(self, weighted: list[Any], inside: set[str]) -> list[str]:
        heads = []
        for node in weighted:
            last = self._activations[node.name] or node
            users = self._consumers.get(last.output[0], [])
            if not any(user.name in inside for user in users):
                heads.append(last.output[0])
        return heads

    def _between(self, weighted: list[Any]) -> dict[str, set[str]]:
        """For nodes between layers, and activations behind them: the layers in front of them."""
        of_node = {name: layer.name for layer in self.layers for name in layer.nodes}
        needed: set[str] = set()
        todo = [name for node in weighted for name in self._data(node)]
        while todo:
            node = self._producer.get(todo.pop())
            if node is None or node.op_type not in BETWEEN or node.name in needed:
                continue
            if not self._is_smooth(node):
                continue
            needed.add(node.name)
            todo += self._data(node)
        upstream: dict[str, set[str]] = {}
        for node in self.model.graph.node:  # in the order of computation
            if node.name not in needed:
                continue
            found: set[str] = set()
            for name in self._data(node):
                producer = self._producer.get(name)
                if producer is None:
                    continue
                if producer.name in of_node and producer.op_type in WEIGHTED:
                    found.add(of_node[producer.name])
                found |= upstream.get(producer.name, set())
            if found:
                upstream[node.name] = found
        return upstream

    def quantized_nodes(self, kept: Iterable[str] = ()) -> list[str]:
        """Names of the nodes that are in 8 bits.

        Args:
            kept: Names of layers that stay in float32. What lies between layers stays so where
                nothing in 8 bits comes in.
        """
        kept = set(kept)
        nodes = [name for layer in self.layers if layer.name not in kept for name in layer.nodes]
        nodes += [name for name, layers in self._upstream.items() if layers - kept]
        return list(dict.fromkeys(nodes))

    def extracted(self) -> Any:
        """A model from :attr:`entries` to :attr:`heads`."""
        import onnx
        from onnx.utils import Extractor

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        known = {value.name for value in (*model.graph.value_info, *model.graph.input)}
        known |= {value.name for value in model.graph.output}
        for name in (*self.entries, *self.heads):
            if name not in known:
                model.graph.value_info.append(
                    onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
                )
        part = Extractor(model).extract_model(self.entries, self.heads)
        part.metadata_props.extend(self.model.metadata_props)
        return part


def _layer_name(weight: str) -> str:
    """The name of a layer from that of its weights."""
    return weight.removeprefix('model.').removesuffix('.weight')
