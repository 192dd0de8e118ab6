"""Fused passes equal torch operations with their gradients; rows encoded once give the network's same answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.planted import Planted
from torch import Tensor, nn

from kincast.model.fused import add_relu_norm, add_rows, norm_relu, spread
from kincast.model.inputs import Inputs, make_inputs
from kincast.model.network import Network
from kincast.sample.batch import Seeds
from kincast.train.prepare import new_loader, new_network, prepare


def _norm(width: int, random: torch.Generator) -> nn.LayerNorm:
    norm = nn.LayerNorm(width)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(width, generator=random))
        norm.bias.copy_(torch.randn(width, generator=random))
    return norm


def _with_gradients(result: Tensor, leaves: list[Tensor], given: Tensor) -> list[Tensor]:
    return [result.detach(), *torch.autograd.grad((result * given).sum(), leaves)]


@pytest.mark.parametrize(("num", "width"), [(1, 1), (7, 64), (33, 5), (0, 8)])
def test_fused_passes_equal_torch(num: int, width: int) -> None:
    random = torch.Generator().manual_seed(num)
    rows, update, given = (torch.randn(num, width, generator=random) for _ in range(3))
    rows.requires_grad_()
    update.requires_grad_()
    norm = _norm(width, random)
    affine = [norm.weight, norm.bias]
    pairs = [
        (norm_relu(rows, norm), torch.relu(norm(rows)), [rows, *affine]),
        (add_relu_norm(rows, update, norm), norm(rows + torch.relu(update)), [rows, update, *affine]),
    ]
    for fused, plain, leaves in pairs:
        for found, expected in zip(
            _with_gradients(fused, leaves, given), _with_gradients(plain, leaves, given), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


def test_rows_of_codes_are_added_with_their_gradient() -> None:
    random = torch.Generator().manual_seed(3)
    base = torch.randn(5, 4, generator=random).requires_grad_()
    table, given = (torch.randn(num, 4, generator=random).requires_grad_() for num in (6, 5))
    codes = torch.tensor([[0, 1], [1, 1], [0, 2], [1, 0], [0, 1]], dtype=torch.int32)
    starts = torch.tensor([0, 2])
    found = _with_gradients(add_rows(base * 1.0, codes, starts, table), [base, table], given.detach())
    plain = base * 1.0 + nn.functional.embedding_bag(codes + starts, table, mode="sum")
    for ours, expected in zip(found, _with_gradients(plain, [base, table], given.detach()), strict=True):
        torch.testing.assert_close(ours, expected)


def test_spread_repeats_rows_and_leaves_zeros() -> None:
    vectors = torch.arange(6.0).reshape(3, 2).requires_grad_()
    index = torch.tensor([2, -1, 2, 0])
    found = spread(vectors, index)
    assert found.tolist() == [[4.0, 5.0], [0.0, 0.0], [4.0, 5.0], [0.0, 1.0]]
    (gradient,) = torch.autograd.grad((found * torch.tensor([[1.0], [7.0], [2.0], [4.0]])).sum(), vectors)
    assert gradient.tolist() == [[4.0, 4.0], [0.0, 0.0], [3.0, 3.0]]


def test_shared_rows_change_no_answer_and_no_gradient(planted: Planted) -> None:
    project, snapshot = planted
    prepared = prepare(project, "buys", snapshot)
    _, settings = project.task("buys")
    network = new_network(snapshot, prepared, settings)
    assert isinstance(network, Network)
    loader = new_loader(snapshot, prepared, settings)
    labels = prepared.labels
    index = np.arange(0, len(labels.rows), 7)
    batch = loader.sampler(1).sample(Seeds(labels.entity, labels.rows[index], labels.as_of_us[index]))
    trees = make_inputs(batch, prepared.features.tables)
    once = make_inputs(batch, prepared.features.tables, shared=True)
    assert _num_rows(once) < _num_rows(trees)
    assert any(edge.src is not None for edge in once.edges)
    found = []
    for inputs in (trees, once):
        outputs = network(inputs).outputs
        gradients = torch.autograd.grad(outputs.square().sum(), list(network.parameters()), allow_unused=True)
        found.append([outputs.detach(), *(gradient for gradient in gradients if gradient is not None)])
    for ours, expected in zip(found[1], found[0], strict=True):
        scale = float(expected.abs().max()) or 1.0
        assert float((ours - expected).abs().max()) < 1e-4 * scale


def _num_rows(inputs: Inputs) -> int:
    return sum(len(table.ages) for table in inputs.tables.values())
