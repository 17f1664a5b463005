"""Fine-tune: a paired cohort becomes a model, compared with what it has to beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from app import keys, services
from app.components.comparison_view import comparison_view
from app.components.deletion import confirm_in_dialog
from app.components.errors import guarded, guarded_callback, show_notice
from app.components.job_view import job_view
from app.components.paired_upload import (
    PairedUpload,
    current_paired_upload,
    forget_paired_upload,
    paired_checks,
    paired_upload,
)
from app.components.pairs_store import pairs_box, pairs_labels
from app.components.sharing import sharing
from app.components.text import count, local_time, plain
from xpert_core.cohorts import check_pairs
from xpert_core.conditions import DEFAULT_DOSE, DEFAULT_TIME, parse_dose, parse_time
from xpert_core.errors import ConditionError
from xpert_core.finetuning.compare import Comparison
from xpert_core.finetuning.config import FEW_PAIRS
from xpert_core.jobs import Job, submit
from xpert_core.store.job_records import DONE

METHODS = {
    "auto": f"Automatic: adapters below {FEW_PAIRS} pairs, else all parameters",
    "adapters": "Low-rank adapters, heads and norms (at most 4 % of the parameters)",
    "full": "All parameters, as in the paper",
}
KIND = "finetune"


def keep_or_drop(upload: PairedUpload) -> None:
    """Store the pairs, or forget the upload."""
    left, right, _ = st.columns([2, 2, 3])
    if left.button(
        "Use these pairs",
        type="primary",
        key="save-pairs",
        disabled=not upload.check.can_finetune,
        width="stretch",
    ):
        with guarded():
            with st.spinner("Storing the pairs"):
                st.session_state[keys.PAIRS_ID] = services.store().pairs.save(upload.pairs)
            forget_paired_upload()
            st.rerun()
    right.button("Discard", on_click=forget_paired_upload, key="discard-pairs", width="stretch")


def delete_pairs(pairs_id: str) -> None:
    """Delete stored pairs."""
    with guarded_callback():
        services.store().pairs.delete(pairs_id)
        st.session_state.pop(keys.PAIRS_ID, None)


@st.dialog("Delete these pairs?")
def confirm_deletion(pairs_id: str, label: str) -> None:
    """Ask before stored pairs go."""
    words = f"{plain(label)} will be deleted for good. Models fine-tuned on it stay."
    confirm_in_dialog(words, "confirm-delete-pairs", delete_pairs, pairs_id)


def choose_pairs(table: pd.DataFrame) -> str:
    """Selector of a stored paired cohort, with its deletion."""
    labels = pairs_labels(table)
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    with left:
        chosen = pairs_box(labels)
    store, row = services.store(), table.loc[chosen]
    own = str(row["owner"]) == store.owner
    if right.button("Delete", key="delete-pairs", disabled=not own, width="stretch"):
        confirm_deletion(chosen, labels[chosen])
    sharing(
        "cohort",
        chosen,
        str(row["owner"]),
        shared=bool(row["shared"]),
        own=own,
        share=store.pairs.share,
    )
    return chosen


def choices(pairs_id: str) -> dict[str, Any] | None:
    """Base model, method and what the cohort does not say; None while something is wrong."""
    pairs = services.store().pairs.load(pairs_id)
    check = check_pairs(pairs)
    for refusal in check.refusals:
        st.error(plain(refusal))
    for warning in check.warnings:
        st.warning(plain(warning))
    registry = services.store().registry
    models = {model.id: model for model in registry.list() if not model.why_not_finetune}
    default = registry.default().id
    order = sorted(models, key=lambda key: key != default)
    left, right = st.columns(2)
    base = left.selectbox(
        "Base model", order, format_func=lambda key: models[key].name, key="finetune-base"
    )
    method = right.selectbox(
        "Method", list(METHODS), format_func=METHODS.__getitem__, key="finetune-method"
    )
    name = left.text_input(
        "Name of the new model", key="finetune-name", placeholder="base model and cohort"
    )
    licence = right.text_input(
        "Terms of use of the model",
        key="finetune-licence",
        placeholder="not stated",
        help="Written into its card, for those you give it to.",
    )
    found: dict[str, Any] = {"pairs_id": pairs_id, "base": base, "name": name.strip(),
                             "licence": licence.strip(), **defaults(pairs.pairs)}  # fmt: skip
    with st.expander("More settings"):
        one, two, three = st.columns(3)
        epochs = one.number_input("Epochs at most", 1, 500, 40, key="finetune-epochs")
        found["folds"] = two.selectbox(
            "Folds of the comparison",
            (5, 3, 10, 0),
            key="finetune-folds",
            format_func=lambda n: str(n) if n else "no comparison",
            help="Without a comparison nobody knows what the model is worth, and it cannot become "
            "the default.",
        )
        seed = three.number_input("Seed", 0, 2**31 - 1, 0, key="finetune-seed")
        found["drop_unknown"] = st.checkbox(
            "Leave out pairs whose drug is not known", key="finetune-drop"
        )
        lr = st.number_input(
            "Highest learning rate",
            min_value=1e-7,
            max_value=1.0,
            value=None,
            format="%g",
            key="finetune-lr",
            placeholder="0.01 for adapters, 0.001 for all parameters",
            help="Lower it where a training stops because its loss is not a number.",
        )
    config = {"method": method, "max_epochs": int(epochs), "seed": int(seed)}
    found["config"] = config if lr is None else {**config, "lr": float(lr)}
    return found if check.can_finetune else None


def defaults(pairs: pd.DataFrame) -> dict[str, str]:
    """Drug, dose and time for pairs of which the file does not say them."""
    lacking = {name: int((pairs[name] == "").sum()) for name in ("drug", "dose", "time")}
    unread = {
        "dose": sum(not _readable(parse_dose, text) for text in pairs["dose"] if text),
        "time": sum(not _readable(parse_time, text) for text in pairs["time"] if text),
    }
    found = {}
    columns = iter(st.columns(3))
    if lacking["drug"]:
        found["drug"] = next(columns).text_input(
            f"Drug of {count(lacking['drug'], 'pair')} without one", key="finetune-drug"
        )
    for name, value in (("dose", DEFAULT_DOSE), ("time", DEFAULT_TIME)):
        n = lacking[name] + unread[name]
        if n:
            found[name] = next(columns).text_input(
                f"{name.title()} of {count(n, 'pair')} without one",
                value,
                key=f"finetune-{name}",
                help="Used where the file gives none, or one that is no number with a unit.",
            )
    return found


def _readable(parse: Callable[[str], float], text: str) -> bool:
    try:
        parse(text)
    except ConditionError:
        return False
    return True


def start(params: dict[str, Any] | None, label: str) -> None:
    """The button that submits the job."""
    if st.button("Start fine-tuning", type="primary", key="start-finetune", disabled=not params):
        assert params is not None
        with guarded():
            store = services.store()
            title = f"Fine-tuning: {label}"[:120]
            job_id = submit(store, KIND, params, title=title)
            st.query_params[keys.JOB] = job_id
            st.rerun()
    st.caption(
        "It runs in the background and goes on when this page is closed. Small cohorts take "
        "minutes to an hour: every model is trained once for each fold."
    )


def job_page(job_id: str) -> None:
    """A fine-tuning while it runs, and what it came to."""
    st.page_link("views/finetune.py", label="New fine-tuning", icon=":material/arrow_back:")
    job = job_view(job_id)
    if job is not None and job.status == DONE and job.result:
        outcome(job)


def outcome(job: Job) -> None:
    """Comparison, transfer, and what can be done with the model."""
    result = job.result or {}
    st.subheader("What it is worth")
    if result["comparison"]:
        comparison_view(Comparison.from_dict(result["comparison"]), job.id)
    else:
        st.warning(
            "It was not compared with the mean change of the cohort, so nothing is known of what "
            "it is worth, and it cannot become the default."
        )
    method = result["method"]
    st.markdown(
        f"**Method.** {plain(method['method'])}: {method['trained']:,} of "
        f"{method['parameters']:,} parameters ({method['share']:.1%}), best epoch "
        f"{result['best_epoch']}, {result['minutes']:.1f} minutes for the final model, "
        f"peak memory {result['peak_memory_mib']:,.0f} MiB."
    )
    moved = result["transfer"]
    with st.expander("What was taken over from the base model, and what was not"):
        for title, name in (("Taken over", "transferred"), ("New", "new"), ("Dropped", "dropped")):
            st.markdown(f"**{title}.** {plain('; '.join(moved[name]) or 'nothing')}")
    own = job.owner == services.store().owner
    if own and result["notes"]:  # they may name patients
        with st.expander("What was assumed"):
            st.markdown("\n".join(f"- {plain(note)}" for note in result["notes"]))
    if own:
        with guarded():
            model_actions(str(result["model_id"]))


def model_actions(model_id: str) -> None:
    """The registered model: make it the default, or open the list of models."""
    model = services.store().registry.get(model_id)
    st.markdown(f"**The model** is registered as {plain(model.name)}.")
    left, right, _ = st.columns([2, 2, 3])
    if left.button(
        "Predict with it by default",
        key="default-finetuned",
        disabled=bool(model.why_not_default),
        help=f"Not possible: {model.why_not_default}." if model.why_not_default else None,
        width="stretch",
    ):
        with guarded():
            services.store().registry.set_default(model_id)
            st.success(f"{plain(model.name)} is your default model.")
    right.page_link("views/models.py", label="All models", icon=":material/arrow_forward:")


def earlier() -> None:
    """Fine-tunings of this user, the last first."""
    store = services.store()
    jobs = [job for job in store.jobs.find(kinds=(KIND,)) if job.owner == store.owner]
    if not jobs:
        return
    st.subheader("Your fine-tunings")
    for job in jobs[:10]:
        st.page_link(
            "views/finetune.py",
            label=f"{plain(job.title)}, {job.status}, {local_time(job.created_at)}",
            query_params={keys.JOB: job.id},
        )


def page() -> None:
    """Draw the page from top to bottom."""
    st.title("Fine-tune")
    show_notice()
    job_id = st.query_params.get(keys.JOB)
    if job_id:
        with guarded():
            job_page(job_id)
        return
    st.markdown(
        "Teach a model your patients: samples before and after treatment become a model of your "
        "own, compared on held-out patients with the one it came from and with the mean change."
    )
    with guarded():
        paired_upload()
    upload = current_paired_upload()
    if upload is not None:
        with guarded():
            paired_checks(upload)
            keep_or_drop(upload)
    with guarded():
        table = services.store().pairs.list()
        if not table.empty:
            st.subheader("Fine-tuning")
            chosen = choose_pairs(table)
            start(choices(chosen), str(table.loc[chosen, "name"]))
    with guarded():
        earlier()


page()
