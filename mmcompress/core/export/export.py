"""Trained algorithm -> static model of plain torch layers, verified before it is written."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_architecture
from mmcompress.core.base.op import Op
from mmcompress.core.base.parts import whole_architecture
from mmcompress.core.checks import one_of
from mmcompress.core.errors import CompressionError
from mmcompress.core.layers.copying import copied
from mmcompress.core.layers.deploy import deploy as deploy_blocks
from mmcompress.core.probe.probe import Probe, seeded, tensors_in

from .checkpoint import load_into
from .factors import factored_state, weights_of_factors
from .folding import fold_norms
from .onnx import check_packages, export_onnx
from .onnx_readme import readme
from .rankings import Rankings
from .sessions import check_openvino
from .static import SCOPE, merged_forms, subnet_of, to_static

#: Largest difference between the outputs of the trained and the exported model, float32.
TOLERANCE = 1e-5
FILES = ('compact.pth', 'compact.py', 'fix_subnet.json')
ONNX_FILE = 'compact.onnx'
#: The same in 8 bits, and the errors of its layers.
INT8_FILES = ('compact_int8.onnx', 'compact_int8.json')
#: Everything that may be written with it.
ONNX_FILES = (ONNX_FILE, f'{ONNX_FILE}.data', f'{ONNX_FILE}.md', 'compact.xml', 'compact.bin')
#: What ``compact.pth`` may hold: whatever is smaller for each layer, or weights alone.
STORES = ('smallest', 'weights')
#: Numbers that it may hold the weights in.
DTYPES = ('float32', 'float16', 'bfloat16')
#: Hooks of a compressed training, which a static model has no use for.
METHOD_HOOKS = ('mmcompress.CompressionHook', 'mmcompress.ReseedHook')


def export(
    algorithm: CompressionAlgorithm,
    cfg: Config,
    out_dir: str | Path,
    batches: Iterable[Any] = (),
    overwrite: bool = False,
    fold_bn: bool = False,
    onnx_shape: Sequence[int] | None = None,
    onnx: dict[str, Any] | None = None,
    openvino: bool = False,
    forms: dict[str, str] | None = None,
    store: str = 'smallest',
    dtype: str = 'float32',
    deploy: bool = False,
) -> dict[str, Any]:
    """Write the static model of a trained algorithm.

    ``compact.pth`` holds the weights, ``compact.py`` a config that rebuilds the model through
    mmengine (with the data and evaluators of ``cfg``), ``fix_subnet.json`` the widths. Before
    anything appears in ``out_dir``, the model is rebuilt from these three files and compared
    with the trained one on random images and on ``batches``.

    Args:
        algorithm: Trained, with its checkpoint loaded.
        cfg: The config that it was trained with.
        out_dir: Where to write.
        batches: Real data as a dataloader gives it.
        overwrite: Replace the files of an earlier export.
        fold_bn: Fold batch norms into the convolutions in front of them. Sums are then rounded
            in another order, and differences count as shares of the largest output where that
            is above 1.
        onnx_shape: ``(channels, height, width)``; also write ``compact.onnx``, as
            :func:`~mmcompress.core.export.onnx.export_onnx` does, compared on ``batches`` too,
            and ``compact.onnx.md``, which says how to use it.
        onnx: What ``export_onnx`` takes besides: ``outputs``, ``opset``, ``dtype``.
        openvino: Also write it as ``compact.xml`` and ``compact.bin``, compared likewise.
        forms: See :func:`~mmcompress.core.export.static.to_static`.
        store: What ``compact.pth`` holds, one of :data:`STORES`. Where an op makes its weights of
            fewer numbers, ``'smallest'`` stores these, and the weights are made when they are
            loaded; what layers share is stored once.
        dtype: What matrices of weights and factors are stored in, one of :data:`DTYPES`; loading
            makes them float32 again. Vectors, such as the statistics of norms, stay float32.
        deploy: Merge the branches of re-parameterised blocks, by their own ``switch_to_deploy``;
            differences count as with ``fold_bn``.

    Returns:
        ``max_difference`` between the outputs, the number of ``batches`` compared, the paths
        ``checkpoint``, ``config`` and ``subnet``, ``checkpoint_bytes``, the size of the first, and
        ``factored``, for how many weights it holds factors;
        with ``onnx_shape`` also what ``export_onnx`` returns.

    Raises:
        CompressionError: If the outputs differ by 1e-5 or more (of the largest, where sums are
            taken in another order: batch norms folded, channels removed), files are in the
            way, training has not come far enough, or the model can't be written as ONNX; nothing
            is written then. In 16 bits the outputs differ by rounding: compared is then the
            network with rounded weights.
    """
    out_dir = Path(out_dir)
    check_export(algorithm, out_dir, overwrite, store, dtype)
    if onnx_shape is not None:
        check_packages()
        if openvino:
            check_openvino()
    mutator = algorithm.mutator
    if forms is None:
        forms = mutator.static_forms(algorithm.architecture)
    if deploy:
        forms = merged_forms(algorithm, forms)
    static = to_static(algorithm, forms)
    check_plain(static)
    dense_cfg = dense_config(cfg)
    dense = build_architecture(dense_cfg, cfg.get('data_preprocessor'))
    subnet = subnet_of(algorithm, static, dense, forms)
    if deploy:
        merge_branches(static, subnet)
    if fold_bn:
        subnet['folded'] = fold_norms(static)
    # What the parts of the model are looked up in.
    subnet['scope'] = dense_cfg.get('_scope_') or cfg.get('default_scope') or _current_scope()
    content = content_of(algorithm, static, subnet, forms, store, dtype)
    specs = content.get('factors', {})
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent) as scratch:
        stage = Path(scratch)
        (stage / 'fix_subnet.json').write_text(json.dumps(subnet, indent=1), encoding='utf-8')
        torch.save(content, stage / 'compact.pth')
        size = (stage / 'compact.pth').stat().st_size
        written: dict[str, Any] = dict(checkpoint_bytes=size, factored=len(specs))
        _static_config(cfg, dense_cfg).dump(stage / 'compact.py')
        rebuilt = _rebuild(stage)
        # Where sums are taken in another order, rounding grows with what is summed.
        relative = fold_bn or deploy or mutator.reorders_sums
        batches = list(batches)
        difference, compared = check_equal(algorithm, static, rebuilt, content, batches, relative)
        if onnx_shape is not None:
            images = [images_of(rebuilt.data_preprocessor, batch) for batch in batches]
            options = dict(onnx or {}, openvino=openvino, images=images)
            written |= export_onnx(rebuilt, stage / ONNX_FILE, onnx_shape, **options)
            text = readme(rebuilt, cfg, written, onnx_shape, ONNX_FILE)
            (stage / f'{ONNX_FILE}.md').write_text(text, encoding='utf-8')
            written['onnx'] = str(out_dir / ONNX_FILE)
        out_dir.mkdir(exist_ok=True)
        for name in (*ONNX_FILES, *INT8_FILES):
            (out_dir / name).unlink(missing_ok=True)  # of an earlier export
        for file in stage.iterdir():
            os.replace(file, out_dir / file.name)
    keys = ('checkpoint', 'config', 'subnet')
    paths = {key: str(out_dir / name) for key, name in zip(keys, FILES, strict=True)}
    return dict(max_difference=difference, batches=compared, **paths, **written)


def merge_branches(static: nn.Module, subnet: dict[str, Any]) -> None:
    """Give a static model the form for inference of its blocks, in place, and note it.

    Raises:
        CompressionError: If there is no such block.
    """
    if not deploy_blocks(static):
        raise CompressionError(
            f'deploy is True, but {type(static).__name__} has no block with switch_to_deploy; '
            'leave it out'
        )
    subnet['deployed'] = True


def check_export(
    algorithm: CompressionAlgorithm, out_dir: Path, overwrite: bool, store: str, dtype: str
) -> None:
    """See that an algorithm, which settles on what it has loaded, can be exported to a folder.

    Raises:
        CompressionError: If training has not come far enough, files are in the way, or an option
            is wrong.
    """
    one_of(store, STORES, 'store')
    one_of(dtype, DTYPES, 'dtype')
    if algorithm.loaded:
        algorithm.settle()
    unfinished = algorithm.unfinished()
    if unfinished:
        raise CompressionError(f'{type(algorithm).__name__} cannot be exported: {unfinished}')
    existing = [name for name in (*FILES, *ONNX_FILES, *INT8_FILES) if (out_dir / name).exists()]
    if existing and not overwrite:
        raise CompressionError(
            f'{out_dir} already holds {", ".join(existing)}; name another folder or give '
            '--overwrite'
        )


def content_of(
    algorithm: CompressionAlgorithm,
    static: nn.Module,
    subnet: dict[str, Any],
    forms: dict[str, str],
    store: str,
    dtype: str,
) -> dict[str, Any]:
    """What ``compact.pth`` holds.

    Args:
        algorithm: Trained.
        static: Made of it.
        subnet: How it differs from the dense model.
        forms: The form of each op that has several.
        store: One of :data:`STORES`.
        dtype: One of :data:`DTYPES`.

    Returns:
        ``state_dict``, ``meta``, and ``factors`` where weights are made of some.
    """
    content: dict[str, Any] = dict(meta={'dataset_meta': getattr(algorithm, 'dataset_meta', None)})
    state = {key: value.cpu() for key, value in static.state_dict().items()}
    specs: dict[str, dict[str, Any]] = {}
    if store == 'smallest':
        there = dict(static.named_modules())
        changed = [conv for conv, _ in subnet.get('folded', ())]
        changed += [n for n, _ in algorithm.architecture.named_modules() if n not in there]
        state, specs = factored_state(algorithm.architecture, static, forms, changed)
    content['state_dict'] = _rounded(state, getattr(torch, dtype))
    if specs:
        content['factors'] = specs
    return content


def check_equal(
    algorithm: CompressionAlgorithm,
    static: nn.Module,
    rebuilt: nn.Module,
    content: dict[str, Any],
    batches: Iterable[Any] = (),
    relative: bool = False,
) -> tuple[float, int]:
    """See that a model that was rebuilt from files has the outputs of the trained one.

    Args:
        algorithm: Trained.
        static: Made of it; takes over the weights that were rounded.
        rebuilt: From the files.
        content: Of ``compact.pth``.
        batches: As for :func:`compare`.
        relative: As for :func:`compare`.

    Returns:
        What :func:`compare` does.

    Raises:
        CompressionError: If outputs differ. In 16 bits they do by rounding: compared is then the
            static model with rounded weights.
    """
    difference, compared = compare(algorithm, rebuilt, batches, relative)
    off = difference
    if any(w.dtype in (torch.float16, torch.bfloat16) for w in content['state_dict'].values()):
        # What was rounded differs from what was trained, but not from its own file.
        weights = weights_of_factors(content['state_dict'], content.get('factors', {}))
        static.load_state_dict(weights)
        off, _ = compare(algorithm, rebuilt, batches, relative, trained=static)
    if not off < TOLERANCE:
        raise CompressionError(
            f'the exported model differs from the trained one by {off:.3g} (at most '
            f'{TOLERANCE:g} is allowed); nothing was written'
        )
    return difference, compared


def images_of(data_preprocessor: nn.Module, batch: Any) -> Tensor:
    """The images of a batch as they go into a model, on the CPU; the batch stays as it is."""
    data = data_preprocessor(copy.deepcopy(batch), False)
    images: Tensor = data['inputs'] if isinstance(data, dict) else data[0]
    return images.cpu()


def _rounded(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """A state dict with its matrices of float32 in another type; vectors stay as they are."""
    return {
        key: value.to(dtype) if value.dtype == torch.float32 and value.ndim > 1 else value
        for key, value in state.items()
    }


def check_plain(static: nn.Module) -> None:
    """See that no op of ours is left in a model.

    Raises:
        CompressionError: If one is.
    """
    for name, module in static.named_modules():
        if isinstance(module, Op):
            raise CompressionError(
                f'{name} is still a {type(module).__name__} in the exported model; the op needs '
                'a method `to_static`'
            )


def dense_config(cfg: Config) -> dict:
    """Config of the architecture inside a compression config, with what a child config changes."""
    return whole_architecture(cfg.model)


@torch.no_grad()
def compare(
    algorithm: CompressionAlgorithm,
    static: nn.Module,
    batches: Iterable[Any] = (),
    relative: bool = False,
    trained: nn.Module | None = None,
) -> tuple[float, int]:
    """Largest difference of outputs between a trained algorithm and its static model.

    Args:
        algorithm: The trained algorithm.
        static: The exported model, on the same device.
        batches: Real data as a dataloader gives it. A random batch is always compared, on the
            CPU.
        relative: Divide differences by the largest output of a pass where that is above 1.
        trained: What to compare with instead of the algorithm's architecture.

    Returns:
        The largest absolute difference (NaN counts as infinite), and how many real batches
        were compared.
    """
    trained = copied(trained or algorithm.architecture).eval()
    static = static.eval()
    with seeded():
        probe = Probe(copied(trained).cpu(), algorithm.mutator.demo)
    outputs: list[Any] = []
    rankings = Rankings()
    for model in (trained, static):
        # Some forward passes draw random numbers (samples of proposals): the same for both.
        model = copied(model).cpu()
        with seeded(), rankings.of(model, first=not outputs):
            outputs.append([probe.run(model), rankings.maps])
    worst = _difference(outputs[0], outputs[1], relative)
    # Test data have no ground truth for a loss; predictions may be without tensors.
    mode = 'tensor' if 'tensor' in probe.modes else 'predict'
    count = 0
    for batch in batches:
        count += 1
        inputs = algorithm.data_preprocessor(copy.deepcopy(batch), False)
        outputs = []
        for model in (trained, static):
            with seeded(), rankings.of(model, first=not outputs):
                outputs.append([_forward(model, copy.deepcopy(inputs), mode), rankings.maps])
        worst = max(worst, _difference(outputs[0], outputs[1], relative))
    return worst, count


def _forward(model: BaseModel, inputs: Any, mode: str) -> Any:
    return model(**inputs, mode=mode) if isinstance(inputs, dict) else model(*inputs, mode=mode)


def _difference(first: Any, second: Any, relative: bool = False) -> float:
    worst, scale = 0.0, 1.0
    ones, others = list(tensors_in(first)), list(tensors_in(second))
    if [t.shape for t in ones] != [t.shape for t in others]:
        return float('inf')
    for one, other in zip(ones, others, strict=True):
        if one.numel():
            gap = (one.double() - other.double()).abs().max()
            worst = max(worst, float(gap.nan_to_num(nan=torch.inf)))
            scale = max(scale, float(one.abs().max()))
    return worst / scale if relative and worst < float('inf') else worst


def _static_config(cfg: Config, dense_cfg: dict) -> Config:
    """The training config with the static model in place of the algorithm."""
    static = cfg.to_dict()
    own = dict(
        fix_subnet='{{ fileDirname }}/fix_subnet.json',
        init_cfg=dict(type='Pretrained', checkpoint='{{ fileDirname }}/compact.pth'),
    )
    if isinstance(dense_cfg.get('type'), str):
        static['model'] = {**dense_cfg, '_scope_': SCOPE, **own}
    else:
        static['model'] = dict(type='mmcompress.sub_model', cfg=dense_cfg, **own)
    # `hooks` is what `_base_/runtime.py` calls those of a compressed training.
    for key in ('default_hooks', 'hooks'):
        given = static.get(key) or {}
        if not isinstance(given, dict):
            continue  # somebody else's
        static.pop(key, None)
        left = {name: hook for name, hook in given.items() if not _is_of_method(hook)}
        if left or key == 'default_hooks':
            static[key] = left
    imports = dict(static.get('custom_imports') or dict(allow_failed_imports=False))
    named = imports.get('imports') or []
    named = [named] if isinstance(named, str) else list(named)
    imports['imports'] = named if 'mmcompress' in named else [*named, 'mmcompress']
    static['custom_imports'] = imports
    # Leftovers of method files; only the model counts now.
    for key in ('compression', 'load_from', 'resume', 'work_dir'):
        static.pop(key, None)
    return Config(static)


def _is_of_method(hook: Any) -> bool:
    """Whether the config of a hook is that of one which a static model has no use for."""
    return isinstance(hook, dict) and hook.get('type') in METHOD_HOOKS


def _current_scope() -> str:
    current = DefaultScope.get_current_instance()
    return 'mmengine' if current is None else current.scope_name


def _rebuild(folder: Path) -> BaseModel:
    """Build the model from an export's files, as a user would."""
    cfg = Config.fromfile(folder / 'compact.py')
    model_cfg = dict(cfg.model)
    if model_cfg.get('data_preprocessor') is None:
        model_cfg['data_preprocessor'] = cfg.get('data_preprocessor')
    model = MODELS.build(model_cfg)
    load_into(model, folder / 'compact.pth')
    return model.eval()
