"""Transformer blocks: residual rules, self-attention and cross-attention layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from xpert_core.model.attention import attention, mean_attention
from xpert_core.model.config import ModelConfig

#: Published LayerNorm uses 1e-12; PyTorch's default is 1e-5.
PUBLISHED_EPS = 1e-12


def layer_norm(config: ModelConfig) -> nn.LayerNorm:
    """LayerNorm with the epsilon of the style."""
    eps = PUBLISHED_EPS if config.style == "published" else 1e-5
    return nn.LayerNorm(config.d_model, eps=eps)


class Dropout(nn.Dropout):
    """Dropout that draws eight elements of its mask from one random number on the CPU.

    PyTorch draws a number an element there, which took a fifth of a training step. The share of
    dropped elements is a multiple of 1/256: 0.1 becomes 26/256, and what is kept is scaled by it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`x` with some elements zeroed, in training."""
        kept = round(256 * (1 - self.p))
        if not self.training or x.device.type != "cpu" or kept in (0, 256):
            return super().forward(x)
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        drawn = words.view(torch.uint8)[: x.numel()].view(x.shape)
        # Scaled after: in half precision the factor itself would be rounded, always the same way.
        return x * (drawn < kept).to(x.dtype) * (256 / kept)


class MultiHeadAttention(nn.Module):
    """Multi-head attention; the output projection is a switch (absent in the published code)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.n_heads = config.n_heads
        self.query, self.key, self.value = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.out: nn.Module = nn.Linear(d, d) if config.output_projection else nn.Identity()
        self.backend = "auto"

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries from `x` (B, Lq, d), keys and values from `memory` (B, Lk, d)."""
        q, k, v = self.query(x), self.key(memory), self.value(memory)
        mixed = attention(self._split(q), self._split(k), self._split(v), mask, self.backend)
        return self.out(mixed.transpose(1, 2).flatten(-2))

    def queries_keys(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What attention weights are made of: (B, heads, Lq, d) and (B, heads, Lk, d)."""
        return self._split(self.query(x)), self._split(self.key(memory))

    def received(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean attention each key receives, shape (B, heads, Lk)."""
        return mean_attention(*self.queries_keys(x, memory), mask)


class Residual(nn.Module):
    """Residual rule around a sub-layer: pre-norm, or the published norm on the output."""

    def __init__(self, config: ModelConfig, norm: nn.LayerNorm | None = None) -> None:
        super().__init__()
        self.norm = norm if norm is not None else layer_norm(config)
        self.dropout = Dropout(config.dropout)
        self.pre = config.norm == "pre"

    def inner(self, x: Tensor) -> Tensor:
        """What the sub-layer sees."""
        return self.norm(x) if self.pre else x

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """``x + dropout(F(LN(x)))`` or ``x + dropout(LN(F(x)))``."""
        out = sublayer(self.inner(x))
        return x + self.dropout(out if self.pre else self.norm(out))


class FeedForward(nn.Sequential):
    """Two linear layers with ReLU and dropout."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            nn.Linear(config.d_model, config.d_ff),
            nn.ReLU(),
            Dropout(config.dropout),
            nn.Linear(config.d_ff, config.d_model),
        )


class SelfLayer(nn.Module):
    """Self-attention and feed-forward, each with its residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(config)
        self.feed_forward = FeedForward(config)
        self.attention_residual = Residual(config)
        self.feed_forward_residual = Residual(config)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`x` (B, L, d) with an optional key mask (B, L)."""
        x = self.attention_residual(x, lambda y: self.attention(y, y, mask))
        return self.feed_forward_residual(x, self.feed_forward)

    def received(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention received by each token, averaged over queries: (B, heads, L)."""
        inner = self.attention_residual.inner(x)
        return self.attention.received(inner, inner, mask)

    def queries_keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys of the self-attention on `x`, each (B, heads, L, d)."""
        inner = self.attention_residual.inner(x)
        return self.attention.queries_keys(inner, inner)


class CrossLayer(nn.Module):
    """A CA layer: drug self-attention, cell self-attention, cell-to-drug attention, feed-forward.

    The drug half never sees the cell and the cell's self-attention never sees the drug, so both
    can be computed once and cached.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.drug_layer = SelfLayer(config)
        self.self_attention = MultiHeadAttention(config)
        self.cross_attention = MultiHeadAttention(config)
        self.feed_forward = FeedForward(config)
        self.self_residual = Residual(config)
        shared = None if config.separate_cross_norm else self.self_residual.norm
        self.cross_residual = Residual(config, shared)
        self.feed_forward_residual = Residual(config)
        self.drug_norm: nn.Module = layer_norm(config) if config.norm == "pre" else nn.Identity()

    def cell_self(self, x: Tensor) -> Tensor:
        """The part before the drug enters: cell self-attention on (B, L, d)."""
        return self.self_residual(x, lambda y: self.self_attention(y, y))

    def cross(self, x: Tensor, drug: Tensor, mask: Tensor | None) -> Tensor:
        """Cell-to-drug attention and feed-forward; `drug` (B, Ld, d) is already refined."""
        memory = self.drug_norm(drug)
        x = self.cross_residual(x, lambda y: self.cross_attention(y, memory, mask))
        return self.feed_forward_residual(x, self.feed_forward)

    def cross_received(self, x: Tensor, drug: Tensor, mask: Tensor | None) -> Tensor:
        """Cell-to-drug attention averaged over cell tokens: (B, heads, Ld)."""
        inner = self.cross_residual.inner(x)
        return self.cross_attention.received(inner, self.drug_norm(drug), mask)
