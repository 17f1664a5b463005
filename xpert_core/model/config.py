"""Configuration of the network: every deviation from the paper is a named switch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from xpert_core.errors import CheckpointError

STYLES = ("corrected", "published")


@dataclass(frozen=True)
class ModelConfig:
    """Shape and switches of `xpert_core.model.xpert.XPert`.

    Attributes
    ----------
    style : str
        ``"corrected"`` or ``"published"``; by itself it sets only the epsilon of the norms, see
        `published` for the rest.
    n_genes, d_model, n_heads, d_ff, d_head : int
        Genes; width; attention heads; width of the feed-forward layers and of the read-out MLPs.
    base_layers, pert_layers : str
        Layers of the branches, ``"SA+SA"`` or ``"CA+SA+SA+CA"``.
    dropout, head_dropout : float
        On embeddings and residual branches; inside the read-out MLPs.
    n_value_tokens : int
        Expression bins; one more token means "not measured".
    feature_dim, max_atoms : int
        Width of the drug features; most atom tokens of a drug.
    graph_dim : int
        Width of the biological vectors of the knowledge graph, which a trained layer maps to
        `d_model`; 0 = they come ready-made in that width (published).
    n_readouts, n_classes : int
        Assays of the target; cell classes of the auxiliary task (0 = none).
    ppi_dim : int
        Width of the fixed network vectors of genes.
    norm : str
        ``"pre"``: x + F(LN(x)), final norms; ``"sublayer"``: x + LN(F(x)) (published, D-07).
    positional : str
        ``"learned"``, ``"sinusoidal"`` or ``"type"`` (one vector per kind of token).
    conditions : str
        ``"continuous"`` (log dose, log time), ``"bins"`` (the paper's) or ``"none"``.
    mask_padding, output_projection, separate_cross_norm, missing_token : bool
        Published code has none of them (D-01, D-07); the last is the token of genes not measured.
    control_head : bool
        A read-out of the base branch; only the published network has one, and never trains it.
    single_branch, use_graph, use_molecule, use_atoms, use_ppi, use_readout : bool
        Ablation switches.
    raw_values : bool
        Beside its bin's vector a gene gets its value on a line, centred on the gene's mean in the
        training profiles.
    direction_head : bool
        A read-out of the direction of each change, trained beside the others.
    use_prior : bool
        x_deg is what a simple model predicts (`Batch.prior`) plus what the network adds.
    """

    style: str = "corrected"
    n_genes: int = 978
    d_model: int = 64
    n_heads: int = 4
    d_ff: int = 128
    d_head: int = 64
    base_layers: str = "SA+SA+SA+SA"
    pert_layers: str = "CA+SA+SA+CA"
    dropout: float = 0.1
    head_dropout: float = 0.1
    n_value_tokens: int = 128
    feature_dim: int = 256
    max_atoms: int = 120
    graph_dim: int = 128
    n_readouts: int = 2
    n_classes: int = 0
    ppi_dim: int = 128
    norm: str = "pre"
    positional: str = "learned"
    conditions: str = "continuous"
    mask_padding: bool = True
    output_projection: bool = True
    separate_cross_norm: bool = True
    missing_token: bool = True
    control_head: bool = False
    single_branch: bool = False
    use_graph: bool = True
    use_molecule: bool = True
    use_atoms: bool = True
    use_ppi: bool = True
    use_readout: bool = True
    raw_values: bool = False
    direction_head: bool = False
    use_prior: bool = False

    def __post_init__(self) -> None:
        choices = {
            "style": STYLES,
            "norm": ("pre", "sublayer"),
            "positional": ("learned", "sinusoidal", "type"),
            "conditions": ("continuous", "bins", "none"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise CheckpointError(
                    f"The model setting {name} = '{getattr(self, name)}' is not known.",
                    fix=f"Use one of {', '.join(allowed)}.",
                )
        if self.d_model % self.n_heads:
            raise CheckpointError(
                f"The width {self.d_model} cannot be divided into {self.n_heads} heads.",
                fix="Choose d_model as a multiple of n_heads.",
            )
        layers = set((self.base_layers + "+" + self.pert_layers).split("+"))
        if not layers <= {"SA", "CA"} or "CA" in self.base_layers:
            raise CheckpointError(
                f"The layers '{self.base_layers}' and '{self.pert_layers}' are not understood.",
                fix="Write SA and CA joined by +; the base branch takes SA only.",
            )

    @classmethod
    def published(cls, *, with_conditions: bool, **sizes: Any) -> ModelConfig:
        """The network as published: no padding mask, shared norm, no output projection.

        Parameters
        ----------
        with_conditions : bool
            True for the multi-dose multi-time form ("mdmt"), False for "sdst".
        **sizes
            Fields to set, such as ``d_model``.
        """
        switches: dict[str, Any] = {
            "style": "published",
            "norm": "sublayer",
            "conditions": "bins" if with_conditions else "none",
            "mask_padding": False,
            "output_projection": False,
            "separate_cross_norm": False,
            "missing_token": False,
            "control_head": True,
            "use_ppi": False,
            "use_readout": False,
            "feature_dim": 512,
            "graph_dim": 0,
            "n_readouts": 1,
        }
        return cls(**{**switches, **sizes})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Build from a mapping; unknown keys are refused."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise CheckpointError(
                f"Unknown model settings: {', '.join(unknown)}.",
                fix="Remove them, or use the version of XPert that wrote them.",
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable mapping."""
        return asdict(self)

    def with_(self, **changes: Any) -> ModelConfig:
        """A copy with some fields changed."""
        return replace(self, **changes)
