"""Models: their cards, which one predicts, compare, export, import, share, delete."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from app import keys, services
from app.components.deletion import confirm_in_dialog
from app.components.errors import guarded, guarded_callback, show_notice
from app.components.exports import download
from app.components.model_state import PARTS, model_scores
from app.components.sharing import shared_words, sharing
from app.components.text import local_time, plain, without_formulas
from app.users import identities_configured
from xpert_core.evaluation.metrics import limits_text
from xpert_core.model.bundle import SUFFIX, bundle_name
from xpert_core.model.checkpoint import CARD
from xpert_core.store.comparison import same_test
from xpert_core.store.registered import SHIPPED, RegisteredModel
from xpert_core.store.registry import Registry


def registry() -> Registry:
    """The models of this user."""
    return services.store().registry


def is_own(model: RegisteredModel) -> bool:
    """Whether this user may change it."""
    return model.owner == services.store().owner


def table_of(models: Sequence[RegisteredModel], default: str) -> pd.DataFrame:
    """The list of models as a table for people."""
    table = pd.DataFrame(
        {
            "Model": [model.name for model in models],
            "Kind": [model.kind for model in models],
            "Default": ["yes" if model.id == default else "" for model in models],
            "Predicts here": ["no" if model.why_not_predict else "yes" for model in models],
            "Stored": [local_time(m.created_at) if m.created_at else "" for m in models],
            "Size": [f"{model.n_bytes / 1e6:.1f} MB" for model in models],
            "Hash": [model.digest[:12] for model in models],
        }
    )
    if identities_configured():
        words = [
            "" if m.kind == SHIPPED else shared_words(m.owner, shared=m.shared, own=is_own(m))
            for m in models
        ]
        table.insert(4, "Shared", words)
    return table


def choose(models: Sequence[RegisteredModel], default: str) -> RegisteredModel:
    """Table of the models, and the selector of the one to look at."""
    st.dataframe(
        without_formulas(table_of(models, default)),
        hide_index=True,
        alt="Models with kind, default, whether they predict, date, size and hash",
    )
    by_id = {model.id: model for model in models}
    if st.session_state.get(keys.MODEL_SHOWN) not in by_id:
        st.session_state[keys.MODEL_SHOWN] = default if default in by_id else models[0].id
    names = [model.name for model in models]

    def label(key: str) -> str:
        name = by_id[key].name
        return name if names.count(name) == 1 else f"{name} ({key})"

    chosen = st.selectbox("Model", list(by_id), format_func=label, key=keys.MODEL_SHOWN)
    return by_id[chosen]


def set_default(model_id: str) -> None:
    """Predict with this model from now on, in this session too."""
    with guarded_callback():
        registry().set_default(model_id)
        st.session_state.pop(keys.MODEL, None)


def delete_model(model_id: str) -> None:
    """Delete a model and forget that this session chose it."""
    with guarded_callback():
        registry().delete(model_id)
        for key in (keys.MODEL, keys.MODEL_SHOWN):
            if st.session_state.get(key) == model_id:
                del st.session_state[key]


def rename_model(model_id: str, key: str) -> None:
    """Give a model the name typed under `key`."""
    with guarded_callback():
        registry().rename(model_id, st.session_state[key])


@st.dialog("Delete this model?")
def confirm_deletion(model_id: str, name: str) -> None:
    """Ask before a model goes."""
    words = (
        f"{plain(name)} will be deleted for good. Results predicted with it stay and keep its name "
        "and hash."
    )
    confirm_in_dialog(words, "confirm-delete-model", delete_model, model_id)


def bundle_bytes(models: Registry, model_id: str) -> bytes:
    """The file `xpert model export` writes, as bytes."""
    with tempfile.TemporaryDirectory(prefix="xpert-export-") as folder:
        path = Path(folder) / "model.xpert"
        return models.export(model_id, path).read_bytes()


def actions(model: RegisteredModel, default: str) -> None:
    """What can be done with a model."""
    own = is_own(model)
    refused = model.why_not_default or model.why_not_predict
    first, second, third, fourth = st.columns(4)
    first.button(
        "Make it the default",
        type="primary",
        disabled=model.id == default or bool(refused),
        help=f"Not possible: {refused}." if refused else "Predict and Drugs use it from now on.",
        on_click=set_default,
        args=(model.id,),
        key="set-default",
        width="stretch",
    )
    with second:
        download(
            "Download",
            partial(bundle_bytes, registry(), model.id),
            bundle_name(model.name),
            f"export-model-{model.id}",
        )
    with third.popover("Rename", disabled=not own, width="stretch"):
        key = f"name-{model.id}"
        st.session_state.setdefault(key, model.name)
        st.text_input("New name", key=key, max_chars=80)
        st.button("Save the name", on_click=rename_model, args=(model.id, key), key="save-name")
    if fourth.button("Delete", disabled=not own, key="delete-model", width="stretch"):
        confirm_deletion(model.id, model.name)
    if model.kind != SHIPPED:
        sharing(
            "model", model.id, model.owner, shared=model.shared, own=own, share=registry().share
        )


def card(model: RegisteredModel, models: Sequence[RegisteredModel]) -> None:
    """The card of a model, as far as it has one."""
    if model.why_not_predict:
        st.warning(f"It cannot predict for a cohort: {plain(model.why_not_predict)}.")
    if model.why_not_default:
        st.warning(f"It cannot be the default: {plain(model.why_not_default)}.")
    model_scores(model)
    known = {other.digest: other.name for other in models}
    parents = [known.get(parent, parent[:12]) for parent in model.parents]
    text = (model.folder / CARD).read_text(encoding="utf-8")
    facts = {
        "Kind": model.kind,
        "Made from": ", ".join(parents) or "no other model",
        "Licence": str(model.card.get("licence") or licence_of(text)),
        "Hash": model.digest,
        "Id": model.id,
    }
    st.markdown("  \n".join(f"**{name}:** {plain(value)}" for name, value in facts.items()))
    for title, name in (("Not known", "unknown"), ("Limits", "limits")):
        lines = model.card.get(name)
        if isinstance(lines, list) and lines:
            st.markdown(f"**{title}**\n\n" + "\n".join(f"- {plain(line)}" for line in lines))
    with st.expander("The whole card"):
        # As text: a card from somewhere else could make the browser fetch pictures.
        st.code(text, language=None, wrap_lines=True)


def licence_of(text: str) -> str:
    """Licence named in the head of a card."""
    for line in text.splitlines()[:12]:
        if line.startswith("license:"):
            return line.removeprefix("license:").strip()
    return "unknown"


def compare(models: Sequence[RegisteredModel]) -> None:
    """Scores of several models side by side."""
    by_id = {model.id: model for model in models}
    kept = [key for key in st.session_state.get(keys.MODELS_COMPARED, []) if key in by_id]
    st.session_state[keys.MODELS_COMPARED] = kept
    chosen = st.multiselect(
        "Models to compare",
        list(by_id),
        format_func=lambda key: f"{by_id[key].name} ({by_id[key].digest[:6]})",
        key=keys.MODELS_COMPARED,
        placeholder="Choose two or more",
    )
    if len(chosen) < 2:
        st.caption("Choose two or more models to see their scores side by side.")
        return
    scores = registry().compare(chosen)
    if scores.empty:
        st.info("None of these models came with scores.")
        return
    st.dataframe(
        without_formulas(comparison_table(scores)),
        hide_index=True,
        height="content",
        alt="Scores of the chosen models side by side, with intervals and numbers of rows",
        column_config={"Model or baseline": st.column_config.TextColumn(width="medium")},
    )
    if not same_test([by_id[key] for key in chosen]):
        st.warning(
            "The cards do not name the same test rows: a higher number here is no sign of a better "
            "model. Compare them in one benchmark (`xpert benchmark`)."
        )


def comparison_table(scores: pd.DataFrame) -> pd.DataFrame:
    """One line a part, read-out and scored model; a score with interval and rows in each cell."""
    scores = scores.sort_index(level=["part", "readout"], sort_remaining=False)
    table = scores.index.to_frame(index=False)
    table["part"] = table["part"].map(PARTS).fillna(table["part"])
    table.columns = ["Tested on", "Read-out", "Model or baseline"]
    for name in dict.fromkeys(scores.columns.get_level_values(0)):
        table[name] = [
            ""
            if pd.isna(line["pcc"])
            else f"{line['pcc']:.3f} ({limits_text(line['low'], line['high'])}; "
            f"{line['rows']:,.0f} rows)"
            for _, line in scores[name].iterrows()
        ]
    return table


def import_box() -> None:
    """Take a model file, verify it and keep it."""
    turn = st.session_state.setdefault(keys.MODEL_TURN, 0)
    sent = st.file_uploader(
        "Model file",
        key=f"model-file-{turn}",
        help="It is checked before it is kept: hashes, gene panel, shapes, finite weights.",
    )
    st.caption(
        f"A file that this page or `xpert model export` wrote (*{SUFFIX}). Files of the published "
        "code (.pth) come in with `xpert model import-published`."
    )
    if sent is None:
        return
    st.session_state[keys.MODEL_TURN] = turn + 1
    with guarded_callback(), st.spinner("Checking the model"):
        st.session_state[keys.MODEL_IMPORTED] = registry().import_(sent, filename=sent.name)
    st.rerun()


def page() -> None:
    """Draw the page from top to bottom."""
    models, default = registry().list(), registry().default()
    imported = st.session_state.pop(keys.MODEL_IMPORTED, None)
    for model in models:
        if model.id == imported:
            st.session_state[keys.MODEL_SHOWN] = imported
            st.success(f"{plain(model.name)} was checked and is kept.")
    model = choose(models, default.id)
    actions(model, default.id)
    with guarded():
        card(model, models)
    st.subheader("Compare")
    with guarded():
        compare(models)
    st.subheader("Import")
    with guarded():
        import_box()


st.title("Models")
show_notice()
st.markdown(
    "Shipped models, your own, and those that others share with you."
    if identities_configured()
    else "Shipped models and your own."
)
with guarded():
    page()
