"""How predicted changes follow dose and time: curves, heat map, components, sign reversals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, rankdata

from xpert_core.errors import ConditionError, DataError, DrugError, GeneError
from xpert_core.explanation.genesets import load_sets
from xpert_core.prediction.records import Prediction

#: A smaller change is called neither up nor down, log2.
REVERSAL_THRESHOLD = 0.1
#: Name of the curve of all genes together.
SIZE = "Size of the response (root mean square over genes)"


@dataclass(frozen=True)
class DoseTimeGrid:
    """Predictions of one drug at every sample x time x dose.

    Attributes
    ----------
    drug : str
    samples : tuple of str
    times : ndarray of float64, shape (T,)
        Hours, ascending.
    doses : ndarray of float64, shape (D,)
        Micromolar, ascending.
    genes : tuple of str
        Symbols.
    x_deg : ndarray of float64, shape (S, T, D, G)
        Predicted change, log2 on the L1000 assay.
    """

    drug: str
    samples: tuple[str, ...]
    times: np.ndarray
    doses: np.ndarray
    genes: tuple[str, ...]
    x_deg: np.ndarray

    def time_position(self, time_h: float) -> int:
        """Position of a time.

        Raises
        ------
        ConditionError
            If it was not predicted.
        """
        return _position(self.times, time_h, "time", "h")

    def at_time(self, time_h: float) -> np.ndarray:
        """Changes at a time, shape (S, D, G)."""
        found: np.ndarray = self.x_deg[:, self.time_position(time_h)]
        return found

    def columns(self, genes: Iterable[str]) -> np.ndarray:
        """Positions of genes.

        Raises
        ------
        GeneError
            If one is not a landmark gene, or none is named.
        """
        wanted = list(dict.fromkeys(genes))
        place = {gene: i for i, gene in enumerate(self.genes)}
        unknown = [gene for gene in wanted if gene not in place]
        if unknown or not wanted:
            raise GeneError(
                f"'{unknown[0]}' is not a landmark gene." if unknown else "No gene was chosen.",
                where=f"{len(self.genes)} genes are predicted",
                fix="Give symbols of L1000 landmark genes, such as DUSP6, CDKN1A or MYC.",
            )
        return np.array([place[gene] for gene in wanted])


def grid_of(prediction: Prediction, drug: str | None = None) -> DoseTimeGrid:
    """Order the predictions of one drug by sample, time and dose.

    Parameters
    ----------
    prediction : Prediction
    drug : str, optional
        Name as in `Prediction.rows`; may be left out when there is one drug.

    Raises
    ------
    DrugError
        If the drug was not predicted, or several were and none is named.
    DataError
        If a dose or time is missing for some sample.
    """
    rows = prediction.rows.reset_index(drop=True)
    drugs = list(dict.fromkeys(rows["drug"]))
    if drug is None and len(drugs) == 1:
        drug = str(drugs[0])
    if drug is None or drug not in drugs:
        raise DrugError(
            "Several drugs were predicted." if drug is None else f"'{drug}' was not predicted.",
            where=f"predicted: {', '.join(map(str, drugs[:6]))}",
            fix="Name one of them.",
        )
    own = rows[rows["drug"] == drug]
    samples = tuple(dict.fromkeys(own["sample_id"]))
    times, doses = np.unique(own["time_h"]), np.unique(own["dose_um"])
    shape = (len(samples), len(times), len(doses))
    cell = np.ravel_multi_index(
        (
            pd.Index(samples).get_indexer(pd.Index(own["sample_id"])),
            np.searchsorted(times, own["time_h"]),
            np.searchsorted(doses, own["dose_um"]),
        ),
        shape,
    )
    if len(np.unique(cell)) != len(cell) or len(cell) != np.prod(shape):
        raise DataError(
            "The predictions do not form a whole grid of samples, doses and times.",
            where=f"{drug}: {len(cell)} predictions, {int(np.prod(shape))} expected",
            fix="Predict every sample at the same doses and times.",
        )
    values = np.empty((len(cell), len(prediction.genes)))
    values[cell] = prediction.x_deg[own.index]
    genes = tuple(str(gene) for gene in prediction.genes.index)
    return DoseTimeGrid(drug, samples, times, doses, genes, values.reshape(*shape, len(genes)))


def pathways(
    genes: Sequence[str], collections: Sequence[str] = ("hallmark",)
) -> dict[str, list[str]]:
    """Shipped gene sets by a readable name, cut to `genes`.

    Raises
    ------
    ExplanationError
        If a collection is not installed.
    """
    found = load_sets(genes, collections)
    names = [name.removeprefix("HALLMARK_").replace("_", " ").lower() for name in found.names]
    return {
        name: [found.genes[i] for i in members]
        for name, members in zip(names, found.members, strict=True)
    }


def dose_curves(
    grid: DoseTimeGrid, series: Mapping[str, Sequence[str]], time_h: float
) -> pd.DataFrame:
    """Mean change over samples at each dose, with a band over samples.

    Parameters
    ----------
    grid : DoseTimeGrid
    series : mapping of str to sequence of str
        Name of each curve to its genes: one gene, or a set whose changes are averaged.
    time_h : float

    Returns
    -------
    DataFrame
        Columns ``series``, ``genes`` (number), ``dose_um``, ``mean``, ``sd`` (over samples),
        ``low``, ``high`` (mean minus and plus one standard deviation, as in Fig. 4e of the paper),
        ``least``, ``most`` (over samples), ``samples``. With one sample there is no band: ``sd``,
        ``low`` and ``high`` are NaN. The last series, `SIZE`, is the size of the whole response.
    """
    changes = grid.at_time(time_h)
    values = {
        name: (changes[:, :, grid.columns(genes)].mean(axis=2), len(set(genes)))
        for name, genes in series.items()
    }
    values[SIZE] = (np.sqrt((changes**2).mean(axis=2)), len(grid.genes))
    return pd.concat(
        [_curve(name, number, grid.doses, found) for name, (found, number) in values.items()],
        ignore_index=True,
    )


def _curve(name: str, genes: int, doses: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """One curve from values of shape (S, D)."""
    several = len(values) > 1
    mean = values.mean(axis=0)
    sd = values.std(axis=0, ddof=1) if several else np.full(len(doses), np.nan)
    return pd.DataFrame(
        {
            "series": name,
            "genes": genes,
            "dose_um": doses,
            "mean": mean,
            "sd": sd,
            "low": mean - sd,
            "high": mean + sd,
            "least": values.min(axis=0),
            "most": values.max(axis=0),
            "samples": len(values),
        }
    )


def dose_heat(grid: DoseTimeGrid, time_h: float, n_genes: int = 50) -> pd.DataFrame:
    """Mean change over samples by dose, of the genes that vary most over doses.

    Returns
    -------
    DataFrame
        Index ``dose_um``, columns genes, ordered by their change at the highest dose, up first.

    Raises
    ------
    ConditionError
        If there is one dose.
    """
    if len(grid.doses) < 2:
        raise _too_few("dose", len(grid.doses), 2)
    mean = grid.at_time(time_h).mean(axis=0)
    chosen = np.argsort(-mean.std(axis=0), kind="stable")[:n_genes]
    chosen = chosen[np.argsort(-mean[-1, chosen], kind="stable")]
    return pd.DataFrame(
        mean[:, chosen],
        index=pd.Index(grid.doses, name="dose_um"),
        columns=pd.Index([grid.genes[i] for i in chosen], name="gene"),
    )


@dataclass(frozen=True)
class DosePCA:
    """Principal components of predicted changes, and how each follows the dose.

    Attributes
    ----------
    components : DataFrame
        One row a component: ``component``, ``share`` (of the variance), ``rho`` (Spearman with
        log dose), ``p`` (doses permuted within samples), ``q`` (over components),
        ``null_high`` (95th percentile of the null's absolute rho).
    scores : DataFrame
        One row a sample and dose: ``sample_id``, ``dose_um``, then the components.
    loadings : DataFrame
        Index gene, one column a component.
    """

    components: pd.DataFrame
    scores: pd.DataFrame
    loadings: pd.DataFrame


def dose_pca(
    grid: DoseTimeGrid,
    time_h: float,
    *,
    n_components: int = 5,
    permutations: int = 2000,
    seed: int = 0,
) -> DosePCA:
    """Components of predicted changes over samples and doses, correlated with log dose.

    The paper correlates dose with the components of predicted x_deg (Fig. 4d). The null permutes
    doses within each sample. It asks whether the component orders doses; a network that is smooth
    in dose passes it easily, so it says nothing of the drug until measurements agree.

    Raises
    ------
    ConditionError
        If there are fewer than three doses.
    """
    from sklearn.decomposition import PCA

    if len(grid.doses) < 3:
        raise _too_few("dose", len(grid.doses), 3)
    changes = grid.at_time(time_h)
    n_samples, n_doses, n_genes = changes.shape
    flat = changes.reshape(-1, n_genes)
    fitted = PCA(min(n_components, len(flat) - 1), svd_solver="full").fit(flat)
    found = fitted.transform(flat)
    names = [f"PC{i + 1}" for i in range(found.shape[1])]
    ranks = _standard(rankdata(found, axis=0))
    dose_ranks = _standard(rankdata(np.tile(np.log(grid.doses), n_samples))[:, None])[:, 0]
    rho = dose_ranks @ ranks / len(flat)
    null = _permuted(dose_ranks.reshape(n_samples, n_doses), ranks, permutations, seed)
    p = (1 + (null >= np.abs(rho) - 1e-12).sum(axis=0)) / (1 + permutations)
    components = pd.DataFrame(
        {
            "component": names,
            "share": fitted.explained_variance_ratio_,
            "rho": rho,
            "p": p,
            "q": false_discovery_control(p),
            "null_high": np.quantile(null, 0.95, axis=0),
        }
    )
    rows = pd.MultiIndex.from_product([grid.samples, grid.doses], names=["sample_id", "dose_um"])
    scores = pd.DataFrame(found, index=rows, columns=names).reset_index()
    loadings = pd.DataFrame(
        fitted.components_.T, index=pd.Index(grid.genes, name="gene"), columns=names
    )
    return DosePCA(components, scores, loadings)


def _permuted(doses: np.ndarray, ranks: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Absolute correlations with doses permuted within samples, shape (count, components)."""
    order = np.random.default_rng(seed).random((count, *doses.shape)).argsort(axis=2)
    shuffled = np.take_along_axis(np.broadcast_to(doses, order.shape), order, axis=2)
    found: np.ndarray = np.abs(shuffled.reshape(count, -1) @ ranks) / len(ranks)
    return found


def _standard(values: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and standard deviation 1; a constant column becomes 0."""
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    found: np.ndarray = centred / np.where(spread > 0, spread, 1.0)
    return found


def sign_reversals(grid: DoseTimeGrid, threshold: float = REVERSAL_THRESHOLD) -> pd.DataFrame:
    """Genes whose mean predicted change goes below and above zero, over doses or over times.

    Parameters
    ----------
    grid : DoseTimeGrid
    threshold : float
        Both sides must exceed it, log2.

    Returns
    -------
    DataFrame
        Columns ``gene``, ``along`` (dose or time), ``fixed`` (the time in h, or the dose in uM,
        at which it was followed), ``lowest``, ``lowest_at``, ``highest``, ``highest_at``,
        ``crossing`` (dose or time where the sign changes, interpolated on the log scale between
        neighbouring conditions; the first one between the two extremes), ``samples_share``
        (share of the samples that reverse by themselves), widest reversal first.

    Raises
    ------
    ConditionError
        If the threshold is not positive.
    """
    if not threshold > 0:
        raise ConditionError(
            "The threshold of a sign reversal must be greater than zero.",
            where=f"threshold {threshold:g}",
            fix="Give for example 0.1.",
        )
    found = []
    for position, time in enumerate(grid.times):
        found += _reversals(grid.x_deg[:, position], grid.doses, grid, "dose", time, threshold)
    for position, dose in enumerate(grid.doses):
        found += _reversals(grid.x_deg[:, :, position], grid.times, grid, "time", dose, threshold)
    columns = [
        "gene", "along", "fixed", "lowest", "lowest_at", "highest", "highest_at", "crossing",
        "samples_share",
    ]  # fmt: skip
    table = pd.DataFrame(found, columns=columns)
    low, high = (table[name].to_numpy(dtype=float) for name in ("lowest", "highest"))
    order = np.argsort(np.maximum(low, -high), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _reversals(
    changes: np.ndarray,
    levels: np.ndarray,
    grid: DoseTimeGrid,
    along: str,
    fixed: float,
    threshold: float,
) -> list[tuple[object, ...]]:
    """Reversals along one axis; `changes` has shape (S, levels, G)."""
    mean = changes.mean(axis=0)
    share = ((changes.min(axis=1) < -threshold) & (changes.max(axis=1) > threshold)).mean(axis=0)
    found: list[tuple[object, ...]] = []
    for gene in np.flatnonzero((mean.min(axis=0) < -threshold) & (mean.max(axis=0) > threshold)):
        low, high = int(mean[:, gene].argmin()), int(mean[:, gene].argmax())
        crossing = _crossing(levels, mean[:, gene], low, high)
        found.append(
            (
                grid.genes[gene], along, float(fixed), float(mean[low, gene]), float(levels[low]),
                float(mean[high, gene]), float(levels[high]), crossing, float(share[gene]),
            )
        )  # fmt: skip
    return found


def _crossing(levels: np.ndarray, values: np.ndarray, low: int, high: int) -> float:
    first, last = sorted((low, high))
    step = first + int(np.flatnonzero(np.diff(np.sign(values[first : last + 1])) != 0)[0])
    a, b = values[step], values[step + 1]
    share = a / (a - b)
    log = np.log(levels)
    return float(np.exp(log[step] + share * (log[step + 1] - log[step])))


def _position(levels: np.ndarray, value: float, name: str, unit: str) -> int:
    near = np.flatnonzero(np.isclose(levels, value))
    if not len(near):
        shown = ", ".join(f"{level:g}" for level in levels[:8])
        raise ConditionError(
            f"The {name} {value:g} {unit} was not predicted.",
            where=f"predicted: {shown} {unit}",
            fix=f"Choose one of these, or predict this {name}.",
        )
    return int(near[0])


def _too_few(name: str, found: int, needed: int) -> ConditionError:
    return ConditionError(
        f"This needs at least {needed} {name}s.",
        where=f"{found} given",
        fix=f"Predict more {name}s, for example 0.04, 0.12, 0.37, 1.11, 3.33 and 10 uM."
        if name == "dose"
        else f"Predict more {name}s, for example 3, 6, 12 and 24 h.",
    )
