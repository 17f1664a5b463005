"""What can be mapped: raw profiles, embeddings of the network, its gene tokens, results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from xpert_core.cohorts.records import Profiles
from xpert_core.drugs.records import Drug
from xpert_core.errors import CohortError, DataError, GeneError
from xpert_core.explanation.maps import Space
from xpert_core.explanation.measured import Wells, cell_lines, drug_of
from xpert_core.explanation.progress import Steps
from xpert_core.prediction.predictor import Cancelled, Predictor, Progress
from xpert_core.prediction.records import Prediction
from xpert_core.tokens.batch import Treatments
from xpert_core.tokens.dataset import LOG2_READOUT

#: What a point is, in the maps of patients against cell lines.
PATIENT, CELL_LINE = "sample of the cohort", "L1000 cell line"
#: Profiles encoded at a time.
CHUNK = 8
RAW, CLS = "raw expression", "cls embedding of the base branch"
ANCHOR_SHARE = 0.5


def against_cell_lines(cohort: Profiles, *, scaled: bool = False) -> Space:
    """Samples of a cohort and the L1000 cell lines, on the genes that the cohort measured.

    Parameters
    ----------
    cohort : Profiles
    scaled : bool
        Replace each profile by the normal scores of its ranks: what is left is the shift that the
        model's own tokens, which are ranks too, still carry.

    Raises
    ------
    CohortError
        If fewer than half of the landmark genes are measured in all samples.
    """
    lines = cell_lines()
    whole = ~np.isnan(cohort.x_ctl).any(axis=0)
    if whole.mean() < ANCHOR_SHARE:
        raise CohortError(
            "Too few genes are measured in all samples.",
            where=f"{int(whole.sum())} of {len(whole)} landmark genes",
            fix="Leave out samples with many blank cells.",
        )
    values = np.concatenate([cohort.x_ctl[:, whole], lines.x_ctl[:, whole]])
    if scaled:
        values = _normal_scores(values)
    notes = []
    if not whole.all():
        notes.append(f"On the {int(whole.sum())} landmark genes measured in every sample.")
    name = "ranks of the genes in each profile" if scaled else RAW
    return Space(name, values, _origin(cohort, lines), tuple(notes))


def _normal_scores(values: np.ndarray) -> np.ndarray:
    from scipy.stats import norm, rankdata

    ranks = rankdata(values, axis=1)
    found: np.ndarray = norm.ppf((ranks - 0.5) / values.shape[1])
    return found


def _origin(cohort: Profiles, lines: Profiles) -> pd.DataFrame:
    own = _text(cohort.samples).assign(origin=PATIENT)
    other = pd.DataFrame(
        {"cell": lines.samples["cell"], "origin": CELL_LINE},
        index=pd.Index([f"cell line {name}" for name in lines.samples.index]),
    )
    table = pd.concat([own, other]).fillna("")
    return table.rename_axis("id")


def _text(samples: pd.DataFrame) -> pd.DataFrame:
    """Sample table as text; blank where nothing is known."""
    return samples.astype(object).where(samples.notna(), "").astype(str)


def base_embeddings(
    predictor: Predictor,
    cohorts: Sequence[Profiles],
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> list[np.ndarray]:
    """cls embedding of the base branch of each profile: no drug enters it.

    Returns
    -------
    list of ndarray of float32, shape (n, d_model)
        One array a cohort; bin edges are fitted on each cohort, as in prediction.

    Raises
    ------
    DataError
        If the network has no base branch.
    """
    if predictor.model.config.single_branch:
        raise DataError(
            "This model has no base branch.",
            where=predictor.name,
            fix="Choose a model with two branches.",
        )
    total = sum(map(len, cohorts))
    steps, found = Steps(total, progress, cancelled), []
    for cohort in cohorts:
        tokens = torch.from_numpy(predictor.tokens(cohort).tokens)
        parts = []
        for first in range(0, len(tokens), CHUNK):
            steps.begin(f"Embedding profile {steps.done + 1} of {total}")
            with torch.inference_mode():
                base = predictor.model.encode_profiles(tokens[first : first + CHUNK]).base
            assert base is not None
            parts.append(base[:, 0].numpy())
            steps.end(len(parts[-1]))
        found.append(np.concatenate(parts))
    return found


def embedded_against_cell_lines(
    predictor: Predictor,
    cohort: Profiles,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Space:
    """Samples of a cohort and the L1000 cell lines, as the network's base branch sees them."""
    lines = cell_lines()
    parts = base_embeddings(predictor, [cohort, lines], progress=progress, cancelled=cancelled)
    return Space(CLS, np.concatenate(parts), _origin(cohort, lines))


def treated_wells(wells: Wells, values: str = "after treatment") -> Space:
    """Measured L1000 wells: expression ``"after treatment"``, or its ``"change"``."""
    vectors = wells.x_pert if values == "after treatment" else wells.x_deg
    return Space(f"measured expression, {values}", vectors, _well_labels(wells))


def _well_labels(wells: Wells) -> pd.DataFrame:
    rows = wells.rows
    time = rows["time_h"].map("{:g} h".format)
    return pd.DataFrame(
        {
            "cell": rows["cell"],
            "cell and time": rows["cell"].str.cat(time, sep=", "),
            "plate": rows["plate"],
            "drug": rows["drug"],
            "mechanism": rows["moa"].str.split(";").str[0].str.strip(),
            "dose": rows["dose_um"].map("{:g} uM".format),
            "time": time,
        }
    ).rename_axis("id")


def embedded_wells(
    predictor: Predictor,
    wells: Wells,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Space:
    """cls embeddings of the perturbation branch for the conditions of measured wells.

    Each well is predicted from the vehicle profile of its plate; nothing measured after treatment
    enters. Wells whose drug cannot be read are left out, with a note.
    """
    known = wells.take((wells.rows["smiles"] != "").to_numpy())
    drug_index, names = pd.factorize(known.rows["drug"])
    drugs = [drug_of(known.take(drug_index == number)) for number in range(len(names))]
    profile_index = known.controls.samples.index.get_indexer(pd.Index(known.rows["control"]))
    vectors = pert_embeddings(
        predictor,
        known.controls,
        drugs,
        profile_index,
        drug_index,
        known.rows["dose_um"].to_numpy(),
        known.rows["time_h"].to_numpy(),
        progress=progress,
        cancelled=cancelled,
    )
    left_out = len(wells.rows) - len(known.rows)
    notes = (f"{left_out} wells without a structure are left out.",) if left_out else ()
    return Space("cls embedding of the perturbation branch", vectors, _well_labels(known), notes)


def pert_embeddings(
    predictor: Predictor,
    profiles: Profiles,
    drugs: Sequence[Drug],
    profile_index: np.ndarray,
    drug_index: np.ndarray,
    dose_um: np.ndarray,
    time_h: np.ndarray,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> np.ndarray:
    """cls embedding of the perturbation branch for rows that need not form a grid.

    Parameters
    ----------
    predictor : Predictor
    profiles : Profiles
    drugs : sequence of Drug
    profile_index, drug_index : ndarray of int64, shape (R,)
        Positions in `profiles` and `drugs`.
    dose_um, time_h : ndarray, shape (R,)

    Returns
    -------
    ndarray of float32, shape (R, d_model)
    """
    model, total = predictor.model, len(profile_index)
    tokens = torch.from_numpy(predictor.tokens(profiles).tokens)
    found = np.empty((total, model.config.d_model), dtype=np.float32)
    read = predictor.read_drugs(drugs, progress=progress, cancelled=cancelled)
    with torch.inference_mode():
        encoded = model.encode_drugs(predictor.drug_tokens(*read))
    steps = Steps(total, progress, cancelled)
    for profile in np.unique(profile_index):
        with torch.inference_mode():
            cells = model.encode_profiles(tokens[profile : profile + 1])
        rows = np.flatnonzero(profile_index == profile)
        for chunk in np.array_split(rows, -(-len(rows) // 32)):
            steps.begin(f"Embedding {steps.done + 1} of {total}")
            treatments = Treatments(
                torch.from_numpy(drug_index[chunk]),
                torch.from_numpy(dose_um[chunk].astype(np.float32)),
                torch.from_numpy(time_h[chunk].astype(np.float32)),
                torch.full((len(chunk),), LOG2_READOUT),
            )
            with torch.inference_mode():
                output = model.decode(
                    cells.take(torch.zeros(len(chunk), dtype=torch.long)),
                    model.encode_treatments(*encoded, treatments),
                    treatments.readout,
                )
            found[chunk] = output.cls[:, 0].numpy()
            steps.end(len(chunk))
    return found


def gene_tokens(predictor: Predictor, sets: Mapping[str, Sequence[str]], most: int = 8) -> Space:
    """Trained gene tokens of the network, labelled by pathway.

    Genes of exactly one of the `most` largest sets get its name: a gene of several would belong
    to all of them.

    Raises
    ------
    GeneError
        If fewer than two of the sets have five landmark genes or more.
    """
    symbols = predictor.panel.symbols
    place = {gene: i for i, gene in enumerate(symbols)}
    members = {
        name: [g for g in dict.fromkeys(genes) if g in place] for name, genes in sets.items()
    }
    largest = sorted(members, key=lambda name: (-len(members[name]), name))[:most]
    chosen = [name for name in largest if len(members[name]) >= 5]
    if len(chosen) < 2:
        raise GeneError(
            "Fewer than two gene sets hold five landmark genes.",
            where=f"{len(sets)} sets given",
            fix="Choose larger sets.",
        )
    count = pd.Series(0, index=pd.Index(symbols))
    label = pd.Series("", index=pd.Index(symbols), dtype=object)
    for name in chosen:
        count[members[name]] += 1
        label[members[name]] = name
    label[count != 1] = ""
    with torch.inference_mode():
        vectors = predictor.model.cell_embedding.gene_vectors().numpy()
    labels = pd.DataFrame({"pathway": label.to_numpy()}, index=pd.Index(symbols, name="id"))
    several = int((count > 1).sum())
    note = f"{several} genes of several pathways carry no pathway."
    return Space("gene tokens of the network", vectors, labels, (note,))


def drug_tokens(
    predictor: Predictor,
    wells: Wells,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Space:
    """Drugs of measured wells as the network embeds them, before any profile, dose or time.

    A drug is the mean of its tokens: its place in the graph, the molecule and its atoms, as far as
    the network has them. Drugs without a known structure or mechanism are left out, with a note.

    Returns
    -------
    Space
        One point a drug, vectors of shape (n_drugs, d_model), label ``mechanism`` (the first).

    Raises
    ------
    DataError
        If no drug is left.
    """
    rows = wells.rows
    known = wells.take(((rows["smiles"] != "") & (rows["moa"] != "")).to_numpy())
    if not len(known.rows):
        raise DataError(
            "No drug here has both a structure and a known mechanism.",
            where=f"{len(rows)} wells",
            fix="Choose wells of other drugs.",
        )
    first = ~known.rows["drug"].duplicated().to_numpy()
    one_each = known.take(first)
    drugs = [drug_of(one_each.take(np.arange(len(one_each.rows)) == i))
             for i in range(len(one_each.rows))]  # fmt: skip
    tokens, mask = _encoded_drugs(predictor, drugs, progress, cancelled)
    weights = mask[..., None].to(tokens.dtype)
    means = (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
    mechanism = one_each.rows["moa"].str.split(";").str[0].str.strip().to_numpy()
    labels = pd.DataFrame(
        {"mechanism": mechanism}, index=pd.Index(one_each.rows["drug"].to_numpy(), name="id")
    )
    left_out = rows["drug"].nunique() - len(drugs)
    notes = (f"{left_out} drugs without structure or mechanism are left out.",) if left_out else ()
    return Space("drug tokens of the network", means.numpy(), labels, notes)


def predicted(prediction: Prediction, values: str = "x_deg") -> Space:
    """Rows of a result by their predicted ``"x_deg"`` or ``"x_pert"``."""
    rows = prediction.rows
    labels = pd.DataFrame(
        {
            "drug": rows["drug"],
            "sample": rows["sample_id"],
            "patient": rows["patient_id"],
            "dose": rows["dose_um"].map("{:g} uM".format),
            "time": rows["time_h"].map("{:g} h".format),
        }
    ).rename_axis("id")
    name = "predicted change" if values == "x_deg" else "predicted expression after treatment"
    return Space(name, getattr(prediction, values), labels)
