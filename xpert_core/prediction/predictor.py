"""Predict responses; every part is computed once for what it depends on, and no more.

The base branch and the first cell self-attention depend on the profile alone, drug tokens on the
drug, refined drug tokens on the treatment. Only what joins them runs once a row.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from xpert_core import __version__
from xpert_core.cohorts.profiles import to_profiles
from xpert_core.cohorts.records import Cohort, Profiles
from xpert_core.drugs.records import Drug, DrugFeatures
from xpert_core.errors import CheckpointError, PredictionCancelled
from xpert_core.genes import load_panel
from xpert_core.genes.records import GenePanel
from xpert_core.graph.embed import Placement
from xpert_core.model.checkpoint import Checkpoint, load_checkpoint
from xpert_core.model.drugs import DrugReader, check_same, unit_vector
from xpert_core.model.xpert import CellStates, TreatmentStates
from xpert_core.prediction.inputs import (
    Inputs,
    ProfileTokens,
    Treatment,
    chosen_samples,
    distinct_drugs,
    treatments_of,
)
from xpert_core.prediction.models import model_folder, obstacle
from xpert_core.prediction.records import X_DEG_UNIT, X_PERT_UNIT, Prediction
from xpert_core.tokens.batch import Batch, DrugTokens, Treatments, collate_drugs
from xpert_core.tokens.dataset import LOG2_READOUT
from xpert_core.tokens.expression import ExpressionBins

Progress = Callable[[int, int, str], None]
Cancelled = Callable[[], bool]

#: Profiles encoded at a time and rows decoded at a time: bounds memory to about 200 MB.
PROFILE_CHUNK = 8
ROW_CHUNK = 32


#: Said of a drug that reaches the model neither by structure nor by its place in the graph.
NOTHING_KNOWN = (
    "The knowledge graph cannot place it either, so the prediction is that of an unknown drug and "
    "says nothing about this one."
)
#: Most similar drugs named in the provenance of a placement.
NAMED_NEIGHBOURS = 5


class Predictor:
    """A loaded model that predicts for cohorts.

    Parameters
    ----------
    checkpoint : Checkpoint
    featurizer_options : dict, optional
        Passed to the featurizer, such as the path of Uni-Mol weights.

    Raises
    ------
    CheckpointError
        If the installed gene panel, featurizer or graph is not the one the model was trained
        with, or it needs the prediction of another model.

    Examples
    --------
    >>> predictor = Predictor.load()  # doctest: +SKIP
    >>> result = predictor.predict(cohort, ["trametinib"], ["1 uM"], ["24 h"])  # doctest: +SKIP
    """

    def __init__(
        self, checkpoint: Checkpoint, featurizer_options: dict[str, Any] | None = None
    ) -> None:
        meta = checkpoint.meta
        self.model = checkpoint.model
        self.meta = meta
        self.name = meta.name
        self.digest = checkpoint.digest
        self.card = meta.card
        if self.model.config.use_prior:
            raise CheckpointError(
                f"The model '{meta.name}' adds to the prediction of a simple model that did not "
                "travel with it, so it cannot predict.",
                where="use_prior in its config.json",
                fix="Choose a model that was trained without a prior.",
            )
        if reason := obstacle(meta.bins, meta.featurizer):
            raise CheckpointError(
                f"The model '{meta.name}' cannot predict for a cohort: {reason}.",
                where="the model's card says what else is not known",
                fix="Choose another model.",
            )
        self.panel: GenePanel = load_panel(meta.panel["name"])
        check_same("gene panel", self.panel.digest, meta.panel["digest"], meta.name)
        self.reader = DrugReader.of(meta, **(featurizer_options or {}))
        self.features, self.graph = self.reader.features, self.reader.graph

    @classmethod
    def load(cls, model: str | Path | None = None, **featurizer_options: Any) -> Predictor:
        """Load a model by name or folder; None = the shipped default.

        Raises
        ------
        CheckpointError
            If it is missing, damaged or does not fit this installation.
        """
        return cls(load_checkpoint(model_folder(model)), featurizer_options)

    def predict(
        self,
        cohort: Cohort | Profiles,
        drugs: Sequence[Drug | str],
        doses: Sequence[float | str],
        times: Sequence[float | str],
        *,
        samples: Sequence[str] | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
        reuse: bool = True,
    ) -> Prediction:
        """Predict every sample x drug x dose x time.

        Parameters
        ----------
        cohort : Cohort or Profiles
            Bin edges are fitted on all its profiles, also when `samples` names some of them.
        drugs : sequence of Drug or str
            Names, LINCS ids, InChIKeys or SMILES.
        doses, times : sequence of float or str
            Micromolar and hours, or text with units.
        samples : sequence of str, optional
            Sample ids to predict for; None = all.
        progress : callable, optional
            Called with (done, total, text).
        cancelled : callable, optional
            Asked between chunks; True stops.
        reuse : bool
            False computes every row from scratch, for checks of the caches.

        Returns
        -------
        Prediction

        Raises
        ------
        CohortError, DrugError, ConditionError
            Saying what is wrong with the request.
        PredictionCancelled
            If `cancelled` said so.
        """
        report = _Report(progress, cancelled)
        inputs = self.inputs(
            cohort, drugs, doses, times, samples=samples, progress=progress, cancelled=cancelled
        )
        with torch.inference_mode():
            run = self._run_shared if reuse else self._run_plain
            x_deg, x_pert = run(inputs.batch, report)
        return Prediction(
            _rows(inputs),
            gene_table(inputs.cells.profiles),
            x_deg,
            x_pert,
            self.provenance(inputs),
        )

    def inputs(
        self,
        cohort: Cohort | Profiles,
        drugs: Sequence[Drug | str],
        doses: Sequence[float | str],
        times: Sequence[float | str],
        *,
        samples: Sequence[str] | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Inputs:
        """What `predict` gives to the network, for those who look inside it.

        Parameters and errors are those of `predict`.
        """
        given = self.tokens(cohort, samples)
        known = distinct_drugs(drugs)
        treatments = treatments_of(known, doses, times)
        features, placements = self.read_drugs(known, progress=progress, cancelled=cancelled)
        batch = self._batch(given.tokens, features, placements, treatments)
        return Inputs(given, known, features, placements, treatments, batch)

    def tokens(
        self, cohort: Cohort | Profiles, samples: Sequence[str] | None = None
    ) -> ProfileTokens:
        """Profiles as the network takes them, without any drug.

        Parameters and errors are those of `predict`.
        """
        profiles = cohort if isinstance(cohort, Profiles) else to_profiles(cohort, self.panel)
        check_same("gene panel", profiles.panel.digest, self.panel.digest, self.name)
        chosen = chosen_samples(profiles, samples)
        bins = ExpressionBins.fit(
            profiles.x_ctl, self.meta.bins["kind"], self.meta.bins["n_tokens"]
        )
        return ProfileTokens(profiles, chosen, bins, bins.transform(profiles.x_ctl[chosen]))

    def read_drugs(
        self,
        drugs: Sequence[Drug],
        *,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> tuple[list[DrugFeatures], list[Placement | None]]:
        """Structure and place in the graph of each drug; None = the model has no graph token.

        Raises
        ------
        PredictionCancelled
            If `cancelled` said so.
        """
        report = _Report(progress, cancelled)
        found: list[DrugFeatures] = []
        places: list[Placement | None] = []
        for i, drug in enumerate(drugs):
            report(i, len(drugs), f"Structure of {drug.name}")
            features = self.features.get(drug)
            place = self.place(drug)
            if not features.molecule.any() and (place is None or place.vector is None):
                features = replace(features, fallback=f"{features.fallback} {NOTHING_KNOWN}")
            found.append(features)
            places.append(place)
        return found, places

    def place(self, drug: Drug) -> Placement | None:
        """Place of a drug in the knowledge graph; None when the model has no graph token."""
        return self.reader.place(drug)

    def drug_tokens(
        self, features: Sequence[DrugFeatures], placements: Sequence[Placement | None]
    ) -> DrugTokens:
        """Drugs as the network takes them.

        A network that does not mask padding attends to it, so there every drug is padded to
        `ModelConfig.max_atoms`, as the published code does: else what is predicted of a drug
        would depend on the others of the request.
        """
        config = self.model.config
        return collate_drugs(
            [f.molecule if f.molecule.any() else None for f in features],
            [f.atoms for f in features],
            [unit_vector(place) for place in placements],
            feature_dim=config.feature_dim,
            graph_dim=config.graph_dim,
            max_atoms=config.max_atoms,
            fill=not config.mask_padding,
        )

    def _batch(
        self,
        tokens: np.ndarray,
        features: Sequence[DrugFeatures],
        placements: Sequence[Placement | None],
        treatments: Sequence[Treatment],
    ) -> Batch:
        """All rows, profile by profile."""
        drug_tokens = self.drug_tokens(features, placements)
        count = len(treatments)
        joined = Treatments(
            torch.tensor([t.drug for t in treatments]),
            torch.tensor([t.dose_um for t in treatments], dtype=torch.float32),
            torch.tensor([t.time_h for t in treatments], dtype=torch.float32),
            torch.full((count,), LOG2_READOUT),
        )
        profile_index = torch.arange(len(tokens)).repeat_interleave(count)
        treatment_index = torch.arange(count).repeat(len(tokens))
        return Batch(torch.from_numpy(tokens), drug_tokens, joined, profile_index, treatment_index)

    def _run_shared(self, batch: Batch, report: _Report) -> tuple[np.ndarray, np.ndarray]:
        model, total = self.model, len(batch)
        treatments = model.encode_treatments(*model.encode_drugs(batch.drugs), batch.treatments)
        x_deg = np.zeros((total, model.config.n_genes), dtype=np.float32)
        x_pert = np.zeros_like(x_deg)
        count, done = len(batch.treatments), 0
        for first in range(0, len(batch.profiles), PROFILE_CHUNK):
            report(done, total, f"Prediction {done + 1} of {total}")
            cells = model.encode_profiles(batch.profiles[first : first + PROFILE_CHUNK])
            end = min(total, (first + PROFILE_CHUNK) * count)
            for start in range(first * count, end, ROW_CHUNK):
                report(start, total, f"Prediction {start + 1} of {total}")
                rows = slice(start, min(start + ROW_CHUNK, end))
                out = self._decode(cells, treatments, batch, rows, first)
                x_deg[rows], x_pert[rows] = out
                done = rows.stop
        report(total, total, "Done")
        return x_deg, x_pert

    def _decode(
        self,
        cells: CellStates,
        treatments: TreatmentStates,
        batch: Batch,
        rows: slice,
        first_profile: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        treatment = batch.treatment_index[rows]
        output = self.model.decode(
            cells.take(batch.profile_index[rows] - first_profile),
            treatments.take(treatment),
            batch.treatments.readout[treatment],
        )
        return output.x_deg.numpy(), output.x_pert.numpy()

    def _run_plain(self, batch: Batch, report: _Report) -> tuple[np.ndarray, np.ndarray]:
        results = []
        for i in range(len(batch)):
            report(i, len(batch), f"Prediction {i + 1} of {len(batch)}")
            row = slice(i, i + 1)
            single = Batch(
                batch.profiles,
                batch.drugs,
                batch.treatments,
                batch.profile_index[row],
                batch.treatment_index[row],
            ).expanded()
            output = self.model(single)
            results.append((output.x_deg[0].numpy(), output.x_pert[0].numpy()))
        return np.stack([r[0] for r in results]), np.stack([r[1] for r in results])

    def provenance(self, given: Inputs | ProfileTokens) -> dict[str, Any]:
        """JSON-serialisable record of what numbers made from `given` rest on."""
        cells = given.cells if isinstance(given, Inputs) else given
        profiles, bins = cells.profiles, cells.bins
        found: dict[str, Any] = {
            "cohort": profiles.name,
            "input_sha256": profiles.input_sha256,
            "scale": profiles.scale.used,
            "scale_transform": profiles.scale.transform,
            "genes": {
                "panel": self.panel.name,
                "panel_digest": self.panel.digest,
                "found": profiles.genes.n_found,
                "panel_size": len(self.panel),
                **profiles.genes.counts,
            },
            "bins": {
                "kind": bins.kind,
                "n_tokens": bins.n_tokens,
                "lowest_edge": float(bins.edges[0]),
                "highest_edge": float(bins.edges[-1]),
                "fitted_on_profiles": len(profiles),
            },
            "model_name": self.name,
            "model_digest": self.digest,
            "seed": self.card.get("config", {}).get("seed"),
            "versions": {
                "xpert": __version__,
                "torch": torch.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        }
        if isinstance(given, Inputs):
            found["versions"]["rdkit"] = version("rdkit")  # conformers depend on it
            found |= self._drug_provenance(given)
        return found

    def _drug_provenance(self, given: Inputs) -> dict[str, Any]:
        placed = list(zip(given.drugs, given.placements, strict=True))
        read = list(zip(given.drugs, given.features, strict=True))
        notes = [f"{d.name}: {n}" for d in given.drugs for n in d.notes]
        notes += [
            f"{d.name}, in the knowledge graph: {p.note}"
            for d, p in placed
            if p is not None and p.note
        ]
        notes += [f"{d.name}: {f.fallback}" for d, f in read if f.fallback]
        return {
            "featurizer": self.features.featurizer.name,
            "featurizer_digest": self.features.featurizer.digest,
            "graph_digest": self.graph.digest if self.graph is not None else "",
            "placed_by": {d.name: _edges(p) for d, p in placed if p is not None},
            "x_deg_unit": X_DEG_UNIT,
            "x_pert_unit": X_PERT_UNIT,
            "notes": notes,
        }


def _edges(placement: Placement) -> dict[str, Any]:
    """By which edges a drug was placed, as JSON values."""
    similar = placement.similar[:NAMED_NEIGHBOURS]
    return {
        "origin": placement.origin,
        "targets": list(placement.targets),
        "similar": [f"{other.name} (Tanimoto {other.tanimoto:.2f})" for other in similar],
        "n_similar": len(placement.similar),
    }


class _Report:
    """Tells progress and notices a cancel."""

    def __init__(self, progress: Progress | None, cancelled: Cancelled | None) -> None:
        self.progress = progress
        self.cancelled = cancelled

    def __call__(self, done: int, total: int, text: str) -> None:
        if self.cancelled is not None and self.cancelled():
            raise PredictionCancelled(
                "The prediction was cancelled.", where=f"after {done} of {total} steps"
            )
        if self.progress is not None:
            self.progress(done, total, text)


def _rows(inputs: Inputs) -> pd.DataFrame:
    samples = inputs.cells.samples
    missing = inputs.cells.profiles.n_missing[inputs.cells.chosen]
    records = []
    for sample, patient, n_missing in zip(
        samples.index, samples["patient_id"], missing, strict=True
    ):
        for t in inputs.treatments:
            drug = inputs.drugs[t.drug]
            records.append(
                {
                    "row_id": f"{sample}|{drug.name}|{t.dose_um:g} uM|{t.time_h:g} h",
                    "sample_id": str(sample),
                    "patient_id": "" if pd.isna(patient) else str(patient),
                    "drug": drug.name,
                    "smiles": drug.smiles,
                    "inchikey": drug.inchikey,
                    "dose_um": t.dose_um,
                    "time_h": t.time_h,
                    "n_missing_genes": int(n_missing),
                    "drug_fallback": inputs.features[t.drug].fallback,
                }
            )
    table = pd.DataFrame(records)
    repeated = table.groupby("row_id").cumcount()
    suffix = (" #" + (repeated + 1).astype(str)).where(repeated > 0, "")
    return table.assign(row_id=table["row_id"] + suffix).set_index("row_id")


def gene_table(profiles: Profiles) -> pd.DataFrame:
    """One row per panel gene, as `Prediction.genes`."""
    panel, measured = profiles.panel, ~np.isnan(profiles.x_ctl).all(axis=0)
    return pd.DataFrame(
        {"entrez_id": panel.entrez, "ensembl_id": panel.ensembl, "measured": measured},
        index=pd.Index(panel.symbols, name="symbol"),
    )
