"""Shared basis as an algorithm: where the filters start, and the loss that keeps them there."""

from __future__ import annotations

import pytest
import torch
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


def test_orthogonality_loss(build):
    """Of one kind of basis: all units' entries together, unique filters with their own."""
    algorithm = build(orthogonality=3.0)
    terms = []
    for shared, unique in bases_of(algorithm).values():
        assert len(unique) == 4
        terms += squares(shared, shared, True)
        for own in unique:
            terms += squares(shared, own, False) + squares(own, own, True)
    losses = algorithm.own_losses()
    assert list(losses) == ['loss_orthogonality']
    expected = 3 * sum(terms) / len(terms)
    assert float(losses['loss_orthogonality'].detach()) == pytest.approx(expected, rel=1e-9)


def test_orthogonality_loss_of_two_kinds(build):
    """`Double`: a mean for first and one for second convolutions, no unique blocks."""
    algorithm = build(dict(by_position=True), orthogonality=0.5)
    expected = 0
    for position in ('conv1', 'conv2'):
        terms = []
        for name, (shared, unique) in bases_of(algorithm).items():
            if name.endswith(position):
                terms += squares(shared, shared, True)
                for own in unique:
                    terms += squares(shared, own, False)
        expected += sum(terms) / len(terms)
    loss = algorithm.own_losses()['loss_orthogonality']
    assert float(loss.detach()) == pytest.approx(0.5 * expected, rel=1e-9)


def test_the_loss_reaches_all_basis_filters_and_nothing_else(build):
    algorithm = build()
    algorithm.own_losses()['loss_orthogonality'].backward()
    for name, parameter in algorithm.named_parameters():
        in_basis = name.endswith(('shared_basis', 'unique_basis'))
        assert (parameter.grad is not None) == in_basis, name
    torch.optim.SGD(algorithm.parameters(), lr=1e-3).step()
    before = algorithm.own_losses()['loss_orthogonality']
    assert before.isfinite()


@pytest.mark.parametrize('ranks', [(4, 0), (0, 4)], ids=['shared only', 'not shared'])
def test_one_kind_of_filters(build, ranks):
    algorithm = build(settings=dict(shared_rank=ranks[0], unique_rank=ranks[1]))
    names = [name for name, _ in algorithm.named_parameters() if name.endswith('_basis')]
    assert len(names) == (3 if ranks[0] else 12)
    loss = algorithm.own_losses()['loss_orthogonality']
    # Shared ones start orthonormal, others at random.
    assert (float(loss.detach()) < 1e-12) == bool(ranks[0])


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
    algorithm = build(dict(skip_first_block=False), orthogonality=1.0)
    bases = bases_of(algorithm)
    assert 'backbone.layer2_c16' in bases
    terms = []
    for shared, unique in bases.values():
        terms += squares(shared, shared, True)
        for own in unique:
            terms += squares(shared, own, False) + squares(own, own, True)
    loss = float(algorithm.own_losses()['loss_orthogonality'].detach())
    assert loss == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_nothing_to_count(build):
    double = dict(by_position=True)
    with pytest.raises(CompressionError, match='there is nothing that it counts; set it to 0'):
        build(double, dict(shared_rank=0))
    assert build(double, dict(shared_rank=0), orthogonality=0).own_losses() == {}
