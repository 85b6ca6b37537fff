"""Shared basis as an algorithm: where the filters start, and the loss that keeps them there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

# isort: split
from mmengine.model import BaseModel
from mmengine.registry import MODELS

from mmcompress.core import CompressionError


@pytest.fixture
def build(classifier_cfg):
    """Build a ResNet of three blocks a stage, so that units have four layers."""

    def make(parse_cfg=None, settings=None, **model):
        parse_cfg = {'rule': 'stage', 'skip_first_block': True, **(parse_cfg or {})}
        default = {'shared_rank': 4, 'unique_rank': 2, **(settings or {})}
        mutator_cfg = dict(
            type='SharedBasisMutator',
            parse_cfg=parse_cfg,
            filter_unit_cfg=dict(default_args=default),
        )
        return MODELS.build(
            dict(
                type='mmcompress.SharedBasis',
                architecture=classifier_cfg(20),
                mutator_cfg=mutator_cfg,
                **model,
            )
        ).double()

    return make


def bases_of(algorithm):
    """Shared filters and those of each layer by unit, as rows."""
    found = {}
    for name, unit in algorithm.mutator.units.items():
        ops = [algorithm.architecture.get_submodule(layer) for layer in unit.layers]
        unique = [op.unique_basis.flatten(1) for op in ops if op.unique_basis is not None]
        found[name] = ops[0].shared_basis.flatten(1), unique
    return found


def squares(rows, others, same):
    """Literal: every product of two filters, less 1 where they are the same one."""
    found = []
    for i, row in enumerate(rows):
        for j, other in enumerate(others):
            product = sum(a * b for a, b in zip(row.tolist(), other.tolist(), strict=True))
            found.append((product - (same and i == j)) ** 2)
    return found


def mean(terms):
    return sum(terms) / len(terms)


def loss_of(algorithm):
    """The loss, by which the weight of it is divided."""
    losses = algorithm.own_losses()
    assert list(losses) == ['loss_orthogonality']
    return float(losses['loss_orthogonality'].detach()) / algorithm.orthogonality


def test_shared_filters_start_orthonormal(build):
    for shared, _ in bases_of(build()).values():
        torch.testing.assert_close(shared @ shared.T, torch.eye(4).double(), rtol=0, atol=1e-6)


def test_bases_of_the_same_blocks_start_orthonormal_together(build):
    """`Double`: first and second convolutions of the same blocks."""
    bases = bases_of(build(dict(by_position=True)))
    assert len(bases) == 6
    for stage in (1, 2, 3):
        first, second = (bases[f'backbone.layer{stage}.conv{i}'][0] for i in (1, 2))
        both = torch.cat([first, second])
        torch.testing.assert_close(both @ both.T, torch.eye(8).double(), rtol=0, atol=1e-6)


def move(algorithm):
    """Shared filters start orthonormal; move them to where the loss has something to say."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in algorithm.named_parameters():
            if name.endswith('_basis'):
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(0.1 * noise)
    return algorithm


def test_shared_filters_alone_by_default(build):
    algorithm = move(build(orthogonality=3.0))
    terms = []
    for shared, unique in bases_of(algorithm).values():
        assert len(unique) == 4
        terms += squares(shared, shared, True)
    assert loss_of(algorithm) == pytest.approx(mean(terms), rel=1e-12)


def test_unique_filters_too(build):
    """CIFAR-10's Single: all units' entries together, unique filters with their own."""
    algorithm = move(build(orthogonality=3.0, orthogonality_terms=dict(unique=True)))
    terms = []
    for shared, unique in bases_of(algorithm).values():
        terms += squares(shared, shared, True)
        for own in unique:
            terms += squares(shared, own, False) + squares(own, own, True)
    assert loss_of(algorithm) == pytest.approx(mean(terms), rel=1e-12)


def test_both_bases_of_a_stage_as_one(build):
    """CIFAR-10's Double."""
    terms = dict(unique=True, joint=True)
    algorithm = move(build(dict(by_position=True), orthogonality_terms=terms))
    bases = bases_of(algorithm)
    entries = []
    for stage in (1, 2, 3):
        first, second = (bases[f'backbone.layer{stage}.conv{i}'] for i in (1, 2))
        shared, unique = torch.cat([first[0], second[0]]), [*first[1], *second[1]]
        assert len(unique) == 4
        entries += squares(shared, shared, True)
        for own in unique:
            entries += squares(shared, own, False) + squares(own, own, True)
    assert loss_of(algorithm) == pytest.approx(mean(entries), rel=1e-12)


def test_shared_filters_of_both_bases_as_one(build):
    """ImageNet's Double."""
    algorithm = move(build(dict(by_position=True), orthogonality_terms=dict(joint=True)))
    bases = bases_of(algorithm)
    entries = []
    for stage in (1, 2, 3):
        shared = torch.cat([bases[f'backbone.layer{stage}.conv{i}'][0] for i in (1, 2)])
        entries += squares(shared, shared, True)
    assert loss_of(algorithm) == pytest.approx(mean(entries), rel=1e-12)


@pytest.mark.parametrize(
    ('unique', 'borrow'),
    [(False, False), ('cross', False), ('cross', True), (True, False), (True, True)],
)
def test_a_mean_for_each_position(build, unique, borrow):
    terms = dict(unique=unique, joint='separate', borrow=borrow)
    algorithm = move(build(dict(by_position=True), orthogonality_terms=terms))
    bases, expected = bases_of(algorithm), 0
    for position in ('conv1', 'conv2'):
        entries = []
        for stage in (1, 2, 3):
            shared, own = bases[f'backbone.layer{stage}.{position}']
            if borrow:
                _, own = bases[f'backbone.layer{stage}.conv1']
            entries += squares(shared, shared, True)
            for filters in own if unique else []:
                entries += squares(shared, filters, False)
                entries += squares(filters, filters, True) if unique is True else []
        expected += mean(entries)
    assert loss_of(algorithm) == pytest.approx(expected, rel=1e-12)


def test_the_loss_reaches_all_basis_filters_and_nothing_else(build):
    algorithm = build(orthogonality_terms=dict(unique=True))
    algorithm.own_losses()['loss_orthogonality'].backward()
    for name, parameter in algorithm.named_parameters():
        in_basis = name.endswith(('shared_basis', 'unique_basis'))
        assert (parameter.grad is not None) == in_basis, name
    torch.optim.SGD(algorithm.parameters(), lr=1e-3).step()
    before = algorithm.own_losses()['loss_orthogonality']
    assert before.isfinite()


@pytest.mark.parametrize(
    ('terms', 'key', 'found'),
    [
        ([], 'orthogonality_terms', '[]'),
        (dict(uniqe=True), "'uniqe'", "'unique'"),
        (dict(unique=1), 'orthogonality_terms.unique', '1'),
        (dict(unique='separate'), 'orthogonality_terms.unique', "'separate'"),
        (dict(unique=None), 'orthogonality_terms.unique', 'None'),
        (dict(joint='cross'), 'orthogonality_terms.joint', "'cross'"),
        (dict(as_one_group=0), 'orthogonality_terms.as_one_group', '0'),
        (dict(borrow='yes'), 'orthogonality_terms.borrow', "'yes'"),
        (dict(borrow=True, unique=True), 'orthogonality_terms.borrow', 'joint False'),
        (dict(borrow=True, joint='separate'), 'orthogonality_terms.borrow', 'unique False'),
    ],
)
def test_no_terms_of_the_loss(build, terms, key, found):
    with pytest.raises(CompressionError) as raised:
        build(orthogonality_terms=terms)
    assert key in str(raised.value)
    assert found in str(raised.value)


@pytest.mark.parametrize('value', [None, 0, 'no'])
def test_no_start(build, value):
    with pytest.raises(CompressionError, match=f'orthogonal_start is {value!r}'):
        build(orthogonal_start=value)


def test_the_start_of_convolutions(build):
    """Filters and coefficients within +- 1 / sqrt(fan in), evenly, as ``nn.Conv2d`` has them."""
    torch.manual_seed(0)
    settings = dict(shared_rank=32, unique_rank=8, norm_cfg=dict(type='BN'))
    algorithm = build(None, settings, orthogonal_start=False)
    seen = []
    for name, parameter in algorithm.named_parameters():
        if name.endswith(('_basis', '.coefficients')):
            seen.append(name.rpartition('.')[2])
            bound = parameter[0].numel() ** -0.5
            assert parameter.abs().max() <= bound * (1 + 1e-6)
            assert float(parameter.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.1)
    assert [seen.count(n) for n in ('shared_basis', 'unique_basis', 'coefficients')] == [3, 12, 12]
    assert loss_of(algorithm) > 0.001
    assert loss_of(build(None, settings)) < 1e-12


@pytest.mark.parametrize('ranks', [(4, 0), (0, 4)], ids=['shared only', 'not shared'])
def test_one_kind_of_filters(build, ranks):
    settings = dict(shared_rank=ranks[0], unique_rank=ranks[1])
    algorithm = build(settings=settings, orthogonality_terms=dict(unique=True))
    names = [name for name, _ in algorithm.named_parameters() if name.endswith('_basis')]
    assert len(names) == (3 if ranks[0] else 12)
    # Shared ones start orthonormal, others at random.
    assert (loss_of(algorithm) < 1e-12) == bool(ranks[0])


@pytest.mark.parametrize('value', [-1, 'a', None, True, float('inf'), float('nan')])
def test_no_weight_of_a_loss(build, value):
    with pytest.raises(CompressionError, match='orthogonality is .* number of at least 0'):
        build(orthogonality=value)


def test_mutator_of_the_other_method(classifier_cfg):
    cfg = dict(
        type='mmcompress.SharedBasis',
        architecture=classifier_cfg(20),
        mutator_cfg=dict(type='FilterBasisMutator'),
        target_pruning_ratio=0.5,
    )
    with pytest.raises((CompressionError, ValueError), match="'FilterBasisMutator'.*'SharedBasis"):
        MODELS.build(cfg)


def test_split_units_are_still_one_kind(build):
    """The first block reads fewer channels: its unit is a part, but `Single` all the same."""
    terms = dict(unique=True)
    algorithm = build(dict(skip_first_block=False), orthogonality_terms=terms)
    bases = bases_of(algorithm)
    assert 'backbone.layer2_c16' in bases
    terms = []
    for shared, unique in bases.values():
        terms += squares(shared, shared, True)
        for own in unique:
            terms += squares(shared, own, False) + squares(own, own, True)
    assert loss_of(algorithm) == pytest.approx(mean(terms), rel=1e-9)


def test_split_units_of_the_same_blocks_are_joint(build):
    """`Double` with first blocks: the first convolution of a stage has filters of its own size."""
    parse_cfg = dict(skip_first_block=False, by_position=True)
    algorithm = move(build(parse_cfg, orthogonality_terms=dict(joint=True)))
    bases = bases_of(algorithm)
    assert len(bases) == 8
    entries = []
    for stage in (1, 2, 3):
        names = [name for name in bases if name.startswith(f'backbone.layer{stage}.')]
        assert len(names) == 2 + (stage > 1)
        lengths = {bases[name][0].shape[1] for name in names}
        for length in sorted(lengths):
            rows = [bases[name][0] for name in names if bases[name][0].shape[1] == length]
            entries += squares(torch.cat(rows), torch.cat(rows), True)
    assert loss_of(algorithm) == pytest.approx(mean(entries), rel=1e-12)


@pytest.mark.parametrize('unique', [False, 'cross'])
@pytest.mark.parametrize('by_position', [False, True])
def test_nothing_to_count(build, by_position, unique):
    parse_cfg, terms = dict(by_position=by_position), dict(unique=unique)
    settings = dict(shared_rank=0)
    with pytest.raises(CompressionError, match='there is nothing that it counts; set it to 0'):
        build(parse_cfg, settings, orthogonality_terms=terms)
    assert build(parse_cfg, settings, orthogonality=0).own_losses() == {}


class Pointwise(nn.Module):
    """Two 1x1 convolutions of 16 channels."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(16, 16, 1, bias=False) for _ in range(2))

    def forward(self, x):
        return x + self.conv2(self.conv1(x).relu())


@MODELS.register_module(force=True)
class PointwiseNet(BaseModel):
    """A stem and three blocks."""

    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = nn.Sequential(nn.Conv2d(3, 16, 3), *(Pointwise() for _ in range(3)))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.backbone(inputs)


@pytest.mark.parametrize('joint', [True, 'separate'])
def test_nothing_to_join(build, joint):
    """`Single` has one basis for all that its blocks hold."""
    with pytest.raises(CompressionError, match=f'orthogonality_terms.joint is {joint!r}'):
        build(orthogonality_terms=dict(joint=joint))
    build(dict(by_position=True), orthogonality_terms=dict(joint=joint))
    build(orthogonality=0, orthogonality_terms=dict(joint=joint))


def test_more_filters_than_one_has_weights():
    """Bases of the same blocks start orthonormal each by itself where both together can't be."""
    algorithm = MODELS.build(
        dict(
            type='mmcompress.SharedBasis',
            architecture=dict(type='mmengine.PointwiseNet'),
            mutator_cfg=dict(
                type='SharedBasisMutator',
                parse_cfg=dict(
                    rule={name: f'backbone.*.{name}' for name in ('conv1', 'conv2')}, kernel_size=1
                ),
                filter_unit_cfg=dict(
                    default_args=dict(shared_rank='full', unique_rank=0, coefficients=False)
                ),
            ),
        )
    ).double()
    for shared, _ in bases_of(algorithm).values():
        torch.testing.assert_close(shared @ shared.T, torch.eye(16).double(), rtol=0, atol=1e-6)
    assert loss_of(algorithm) < 1e-10
