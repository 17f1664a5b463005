"""Backends agree; masked keys do not count; maps equal the weights."""

from __future__ import annotations

import pytest
import torch

from xpert_core.model.attention import attention, available_backends, mean_attention


def tensors(n_keys: int = 9) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 3, 200, 8, generator=generator)
    k, v = torch.randn(2, 2, 3, n_keys, 8, generator=generator)
    mask = torch.ones(2, n_keys, dtype=torch.bool)
    mask[0, 5:] = False
    return q, k, v, mask


@pytest.mark.parametrize("masked", [True, False])
def test_backends_agree(masked: bool) -> None:
    q, k, v, mask = tensors()
    results = [
        attention(q, k, v, mask if masked else None, backend=b) for b in available_backends()
    ]
    assert len(results) >= 2
    for other in results[1:]:
        torch.testing.assert_close(results[0], other, atol=1e-5, rtol=0)


def test_masked_keys_change_nothing() -> None:
    q, k, v, mask = tensors()
    expected = attention(q[:1], k[:1, :, :5], v[:1, :, :5])
    k[0, :, 5:], v[0, :, 5:] = 100.0, -100.0
    for backend in available_backends():
        out = attention(q[:1], k[:1], v[:1], mask[:1], backend=backend)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


def test_mean_attention_equals_the_full_array_at_any_chunk() -> None:
    q, k, _, mask = tensors()
    scores = (q @ k.transpose(-2, -1) / 8**0.5).masked_fill(~mask[:, None, None], -torch.inf)
    expected = scores.softmax(-1).mean(dim=2)
    for chunk in (1, 64, 1000):
        received = mean_attention(q, k, mask, chunk=chunk)
        torch.testing.assert_close(received, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(received.sum(-1), torch.ones(2, 3))
    assert (received[0, :, 5:] == 0).all()


def test_unknown_backend_is_refused() -> None:
    q, k, v, _ = tensors()
    with pytest.raises(ValueError, match="none of"):
        attention(q, k, v, backend="fast")
