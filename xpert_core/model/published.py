"""Load parameters under the published names into the ``published`` style."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from xpert_core.errors import CheckpointError
from xpert_core.model.config import ModelConfig
from xpert_core.model.xpert import XPert

#: Registered in the published network but never used in its forward pass (audit, section 2).
DEAD = re.compile(r"^cell_emb\.linear\.|^attnEncoder_trt\.crossEncoders\.\d+\.LayerNorm\.")

_TOP = {
    "cls_token": "cell_embedding.cls",
    "cell_emb.word_embeddings.weight": "cell_embedding.value.weight",
    "cell_emb.pretrained_embed.weight": "cell_embedding.gene",
    "cell_emb.LayerNorm": "cell_embedding.norm",
    "drug_emb.pert_dose_emb.weight": "drug_embedding.conditions.dose.weight",
    "drug_emb.pert_time_emb.weight": "drug_embedding.conditions.time.weight",
    "drug_emb.position_embeddings.weight": "drug_embedding.position",
    "drug_emb.LayerNorm": "drug_embedding.norm",
    "drug_emb.linear": "drug_embedding.structure",
    "trt_fc": "pert_head",
    "deg_fc": "deg_head",
    "ctl_fc": "control_head",
    "class_fc": "classifier",
}
_SELF = {
    "attention": "attention",
    "sublayer.LayerNorm": "attention_residual.norm",
    "output.feed_forward.dense_1": "feed_forward.0",
    "output.feed_forward.dense_2": "feed_forward.3",
    "output.sublayer.LayerNorm": "feed_forward_residual.norm",
}
_CROSS = {
    **_SELF,
    "attention": "self_attention",
    "attention_CA": "cross_attention",
    "sublayer.LayerNorm": "self_residual.norm",
}
_LAYER = re.compile(r"^attnEncoder_(trt|ctl)\.(selfEncoders|crossEncoders)\.(\d+)\.(.+)$")


def published_config(state: Mapping[str, Tensor], n_heads: int) -> ModelConfig:
    """Sizes of a published state dict as a `ModelConfig`.

    Parameters
    ----------
    state : mapping of str to Tensor
    n_heads : int
        Not recorded in the parameters; 8 in the published runs.

    Raises
    ------
    CheckpointError
        If essential parameters are absent.
    """
    try:
        n_tokens, d = state["cell_emb.word_embeddings.weight"].shape
        n_genes = state["cell_emb.pretrained_embed.weight"].shape[0]
        d_ff = state["attnEncoder_ctl.selfEncoders.0.output.feed_forward.dense_1.bias"].shape[0]
        feature_dim = state["drug_emb.linear.weight"].shape[1]
        d_head = state["deg_fc.0.bias"].shape[0]
        positions = state["drug_emb.position_embeddings.weight"].shape[0]
    except KeyError as error:
        raise CheckpointError(
            "The file does not hold the parameters of a published XPert network.",
            where=f"parameter {error} is absent",
            fix="Give the model_state_dict saved by the published training script.",
        ) from error
    with_conditions = "drug_emb.pert_dose_emb.weight" in state
    classes = state.get("class_fc.bias")
    return ModelConfig.published(
        with_conditions=with_conditions,
        n_genes=n_genes,
        d_model=d,
        n_heads=n_heads,
        d_ff=d_ff,
        d_head=d_head,
        feature_dim=feature_dim,
        n_value_tokens=n_tokens,
        max_atoms=positions - (4 if with_conditions else 2),
        n_classes=0 if classes is None else len(classes),
    )


def load_published(state: Mapping[str, Tensor], n_heads: int = 8) -> XPert:
    """Build the published network from its own parameter names.

    Its LayerNorms are called gamma and beta, layers count separately per kind; parameters that
    its forward pass never uses are left out.

    Raises
    ------
    CheckpointError
        If a parameter is missing, unknown or of another shape.
    """
    config = published_config(state, n_heads)
    model = XPert(config)
    order = _layer_order(config.pert_layers)
    renamed = {_rename(name, order): value for name, value in state.items() if not DEAD.match(name)}
    expected = model.state_dict()
    # Without counterpart in the published network: units, targets, norms that are aliases.
    for name in ("x_deg_scale", "x_pert_mean", "drug_embedding.unplaced"):
        renamed[name] = expected[name]
    for name in expected:
        if name.endswith(("cross_residual.norm.weight", "cross_residual.norm.bias")):
            renamed[name] = renamed[name.replace("cross_residual", "self_residual")]
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        raise CheckpointError(
            "The published parameters do not fit the network.",
            where=str(error),
            fix="Check that the file comes from an unchanged published network.",
        ) from error
    return model.eval()


def _layer_order(layers: str) -> dict[str, list[int]]:
    names = layers.split("+")
    return {kind: [i for i, n in enumerate(names) if n == kind] for kind in ("SA", "CA")}


def _rename(name: str, order: dict[str, list[int]]) -> str:
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
    name = name.replace("LayerNorm.beta", "LayerNorm.bias")
    layer = _LAYER.match(name)
    if not layer:
        return _by_prefix(name, _TOP)
    branch, kind, index, rest = layer.groups()
    position = int(index)
    if branch == "ctl":
        return f"base_layers.{position}.{_by_prefix(rest, _SELF)}"
    if kind == "selfEncoders":
        return f"pert_layers.{order['SA'][position]}.{_by_prefix(rest, _SELF)}"
    target = f"pert_layers.{order['CA'][position]}"
    if rest.startswith("drug_SA."):
        return f"{target}.drug_layer.{_by_prefix(rest.removeprefix('drug_SA.'), _SELF)}"
    return f"{target}.{_by_prefix(rest, _CROSS)}"


def _by_prefix(name: str, table: Mapping[str, str]) -> str:
    for old in sorted(table, key=len, reverse=True):
        if name == old or name.startswith(old + "."):
            return table[old] + name[len(old) :]
    return name


def published_drug_features(features: Tensor, graph: Tensor) -> tuple[Tensor, ...]:
    """Split the published drug array into the parts of `DrugTokens`.

    Parameters
    ----------
    features : Tensor, shape (D, 2 + atoms, F)
        Row 0 is the slot of the graph token, row 1 the molecule, the rest atoms, zero padded.
    graph : Tensor, shape (D, d)

    Returns
    -------
    tuple
        molecule (D, F), has_molecule (D,), atoms (D, A, F), atom_mask (D, A), graph (D, d),
        has_graph (D,): the fields of `DrugTokens` in order.
    """
    atoms = features[:, 2:]
    ones = torch.ones(len(features), dtype=torch.bool)
    mask = torch.ones(atoms.shape[:2], dtype=torch.bool)
    return features[:, 1], ones, atoms, mask, graph, ones
