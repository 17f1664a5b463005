"""One attention function, several backends, and attention maps without the full array."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

BACKENDS = ("auto", "flash_attn", "sdpa", "math")


@cache
def flash_attn_available() -> bool:
    """Whether the optional flash-attn package can be used (CUDA only)."""
    return torch.cuda.is_available() and importlib.util.find_spec("flash_attn") is not None


def available_backends(device: torch.device | str = "cpu") -> tuple[str, ...]:
    """Backends that run on `device`."""
    on_cuda = torch.device(device).type == "cuda"
    return ("flash_attn", "sdpa", "math") if on_cuda and flash_attn_available() else BACKENDS[2:]


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_padding_mask: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Scaled dot-product attention.

    Parameters
    ----------
    q : Tensor, shape (B, H, Lq, d)
    k, v : Tensor, shape (B, H, Lk, d)
    key_padding_mask : Tensor of bool, shape (B, Lk), optional
        True for keys that may be attended to. Every row needs at least one.
    backend : str
        One of `BACKENDS`. ``auto`` takes flash-attn when it is installed, the tensors are half
        precision on CUDA and nothing is masked; else PyTorch's fused kernel.

    Returns
    -------
    Tensor, shape (B, H, Lq, d)
    """
    if backend == "auto":
        half = q.is_cuda and q.dtype in (torch.float16, torch.bfloat16)
        fits = half and key_padding_mask is None and flash_attn_available()
        backend = "flash_attn" if fits else "sdpa"
    if backend == "flash_attn":
        return _flash(q, k, v, key_padding_mask)
    if backend == "sdpa":
        mask = None if key_padding_mask is None else key_padding_mask[:, None, None, :]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    if backend == "math":
        return _weights(q, k, key_padding_mask) @ v
    raise ValueError(f"attention backend {backend!r} is none of {BACKENDS}")


def mean_attention(
    q: Tensor, k: Tensor, key_padding_mask: Tensor | None = None, *, chunk: int = 128
) -> Tensor:
    """Attention each key receives, averaged over queries, in chunks of queries.

    Parameters
    ----------
    q : Tensor, shape (B, H, Lq, d)
    k : Tensor, shape (B, H, Lk, d)
    key_padding_mask : Tensor of bool, shape (B, Lk), optional
    chunk : int
        Queries at a time: memory grows with B x H x chunk x Lk, never with Lq x Lk.

    Returns
    -------
    Tensor, shape (B, H, Lk)
        Sums to one over the keys.
    """
    total = torch.zeros(k.shape[:3], dtype=q.dtype, device=q.device)
    for _, weights in weight_chunks(q, k, key_padding_mask, chunk=chunk):
        total += weights.sum(dim=2)
    return total / q.shape[2]


def weight_chunks(
    q: Tensor, k: Tensor, key_padding_mask: Tensor | None = None, *, chunk: int = 128
) -> Iterator[tuple[slice, Tensor]]:
    """Attention weights of some queries at a time, so that no full array is ever held.

    Parameters
    ----------
    q, k, key_padding_mask, chunk
        As of `mean_attention`.

    Yields
    ------
    slice, Tensor of shape (B, H, c, Lk)
        Which queries, and their weights: each row sums to one, masked keys have zero.
    """
    for start in range(0, q.shape[2], chunk):
        rows = slice(start, min(start + chunk, q.shape[2]))
        yield rows, _weights(q[:, :, rows], k, key_padding_mask)


def _weights(q: Tensor, k: Tensor, key_padding_mask: Tensor | None) -> Tensor:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if key_padding_mask is not None:
        scores = scores.masked_fill(~key_padding_mask[:, None, None, :], float("-inf"))
    return scores.softmax(dim=-1)


def _flash(q: Tensor, k: Tensor, v: Tensor, key_padding_mask: Tensor | None) -> Tensor:
    from flash_attn import flash_attn_func

    if key_padding_mask is not None:
        raise ValueError("the flash_attn backend takes no mask here; use sdpa")
    # flash-attn wants (B, L, H, d).
    out = flash_attn_func(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return out.transpose(1, 2)
