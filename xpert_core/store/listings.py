"""Queries behind the lists of stored entries, newest first."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, func, or_, select

from xpert_core.store.models import (
    CohortRow,
    DrugRow,
    ModelRow,
    PredictionRow,
    ProfilesRow,
    RegisteredModelRow,
    RunRow,
    SampleRow,
)
from xpert_core.store.owners import visible


def cohorts(owner: str | None) -> Select[Any]:
    """Cohorts with their sizes; columns as `Store.cohorts` documents."""
    n_patients = (
        select(func.count(SampleRow.patient_id.distinct()))
        .where(SampleRow.cohort_id == CohortRow.id)
        .scalar_subquery()
    )
    n_runs = (
        select(func.count())
        .where(RunRow.cohort_id == CohortRow.id)
        .where(visible(RunRow, owner))
        .scalar_subquery()
    )
    query = (
        select(
            CohortRow.id,
            CohortRow.name,
            CohortRow.owner,
            CohortRow.shared,
            CohortRow.created_at,
            ProfilesRow.n_profiles,
            n_patients.label("n_patients"),
            ProfilesRow.panel_name.label("panel"),
            ProfilesRow.n_genes,
            ProfilesRow.n_genes_found,
            CohortRow.scale_used.label("scale"),
            n_runs.label("n_runs"),
            CohortRow.input_sha256,
        )
        .join(ProfilesRow)
        .order_by(CohortRow.created_at.desc(), CohortRow.id)
    )
    return query.where(visible(CohortRow, owner))


def models(owner: str | None) -> Select[Any]:
    """Models that this owner has or sees results of; columns as `Store.models` documents."""
    query = select(
        ModelRow.id, ModelRow.name, ModelRow.digest, ModelRow.card, ModelRow.created_at
    ).order_by(ModelRow.created_at.desc(), ModelRow.id)
    if owner is None:
        return query
    known = [
        select(kind.model_id).where(visible(kind, owner)) for kind in (RegisteredModelRow, RunRow)
    ]
    return query.where(or_(*(ModelRow.id.in_(ids) for ids in known)))


def runs(owner: str | None, cohort_id: str | None) -> Select[Any]:
    """Runs with their cohort, model and drugs; columns as `Store.runs` documents."""
    drugs = (
        select(func.aggregate_strings(DrugRow.drug, ", "))
        .where(DrugRow.run_id == RunRow.id)
        .scalar_subquery()
    )
    n_patients = (
        select(func.count(PredictionRow.patient_id.distinct()))
        .where(PredictionRow.run_id == RunRow.id)
        .scalar_subquery()
    )
    ranges = [
        select(function(column))
        .where(PredictionRow.run_id == RunRow.id)
        .scalar_subquery()
        .label(f"{column.name}_{end}")
        for column in (PredictionRow.__table__.c.dose_um, PredictionRow.__table__.c.time_h)
        for end, function in (("min", func.min), ("max", func.max))
    ]
    query = (
        select(
            RunRow.id,
            RunRow.title,
            RunRow.owner,
            RunRow.shared,
            RunRow.status,
            RunRow.created_at,
            RunRow.cohort_id,
            CohortRow.name.label("cohort"),
            ModelRow.name.label("model"),
            drugs.label("drugs"),
            RunRow.n_rows,
            n_patients.label("n_patients"),
            RunRow.n_genes,
            *ranges,
        )
        .outerjoin(CohortRow, RunRow.cohort_id == CohortRow.id)
        .outerjoin(ModelRow, RunRow.model_id == ModelRow.id)
        .order_by(RunRow.created_at.desc(), RunRow.id)
    )
    query = query.where(visible(RunRow, owner))
    return query if cohort_id is None else query.where(RunRow.cohort_id == cohort_id)
