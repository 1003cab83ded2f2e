"""Fields as patches, and back."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models.errors import ModelError
from models.layers.patches import PatchEmbedding, PatchExpansion, PatchInflation, PatchMerging, pad_up
from tests.models.conftest import count


def test_padding_goes_on_where_the_axis_is_circular():
    x = torch.arange(6.0).view(1, 2, 3)
    assert pad_up(x, 2, "zeros").tolist() == [[[0, 1, 2, 0], [3, 4, 5, 0]]]
    assert pad_up(x, 2, "cylinder").tolist() == [[[0, 1, 2, 0], [3, 4, 5, 3]]]
    assert pad_up(x, 3, "cylinder").tolist() == [[[0, 1, 2], [3, 4, 5], [0, 0, 0]]]
    assert pad_up(x, 3, "circular").tolist() == [[[0, 1, 2], [3, 4, 5], [0, 1, 2]]]
    assert pad_up(x[..., :1], 4, "cylinder")[0, 0].tolist() == [0, 0, 0, 0]  # more than once round
    assert pad_up(x, 1, "zeros") is x


def test_a_patch_becomes_a_token():
    """Token (i, j) is the LayerNorm of the linear map of patch (i, j), and of nothing else."""
    embedding = PatchEmbedding(3, 4, 2, "zeros")
    x = torch.randn(2, 3, 5, 6)
    tokens = embedding(x)
    assert tokens.shape == (2, 3, 3, 4)
    patch = x[1, :, 2:4, 4:6].flatten()
    expected = embedding.project.weight.flatten(1) @ patch + embedding.project.bias
    torch.testing.assert_close(tokens[1, 1, 2], functional.layer_norm(expected, (4,)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("patch", [1, 2, 4, 8])
def test_patches_are_undone_to_the_grid(patch: int):
    tokens = PatchEmbedding(2, 6, patch, "cylinder")(torch.randn(3, 2, 11, 7))
    inflation = PatchInflation(6, 5, patch)
    assert inflation(tokens, (11, 7)).shape == (3, 5, 11, 7)
    doublings = max(1, patch.bit_length() - 1)
    assert count(inflation) == (doublings - 1) * (9 * 6 * 6 + 3 * 6) + 9 * 6 * 5 + 5


def test_merging_gathers_four_neighbours():
    merging = PatchMerging(2, "zeros")
    tokens = torch.randn(1, 3, 4, 2)
    changed = tokens.clone()
    changed[0, 1, 2] += torch.tensor([1.0, -1.0])
    moved = (merging(tokens) - merging(changed)).abs().sum(-1)[0] > 0
    assert moved.tolist() == [[False, True], [False, False]]
    assert count(merging) == 8 * 2**2 + 8 * 2


def test_expansion_undoes_the_size_of_merging():
    tokens = torch.randn(1, 5, 3, 4)
    coarse = PatchMerging(4, "zeros")(tokens)
    assert coarse.shape == (1, 3, 2, 8)
    expansion = PatchExpansion(8)
    assert expansion(coarse, (5, 3)).shape == tokens.shape
    assert count(expansion) == 2 * 8**2 + 8


def test_a_patch_that_doubling_does_not_reach():
    with pytest.raises(ModelError, match="patch must be a power of two, such as 4, received 3: change it"):
        PatchEmbedding(1, 4, 3, "zeros")
