"""What a search found: a table of trials, a recipe, and a report that leads with the verdict."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from xpert_core.benchmark.config import XPERT
from xpert_core.benchmark.models import recipe_of
from xpert_core.benchmark.search import Found
from xpert_core.benchmark.search_config import SearchConfig, spec_of
from xpert_core.benchmark.search_study import Attempt
from xpert_core.benchmark.search_trial import COMPLETE, FAILED, PRUNED
from xpert_core.files import write_bytes_atomic
from xpert_core.learning.config import TrainConfig
from xpert_core.model.config import ModelConfig

SHOWN, TOP = 10, 5
"""Trials in the table; trials whose order is judged."""
FEWEST_FOR_IMPORTANCE = 10

_NOTES = """\
Value: mean over folds of the validation score, which is the mean over read-outs of the mean
Pearson correlation of predicted and measured change (x_deg) of each inner validation row. No test
row was predicted or looked at. Trial 0 is the base recipe, trained like any other trial. The
differences to it are flattered for the best trials: they were picked on the rows they are judged
on, and each trial was trained with one seed of its own."""


@dataclass(frozen=True)
class Difference:
    """A trial minus the base, paired over folds.

    Attributes
    ----------
    mean, sd : float
        NaN without the base; `sd` also with one fold.
    better, folds : int
        Folds in which the trial is better, of all.
    """

    mean: float
    sd: float
    better: int
    folds: int

    @property
    def beyond_spread(self) -> bool:
        """Whether the mean is larger than the spread over folds, on either side."""
        return abs(self.mean) > self.sd


def fold_scores(trial: Attempt) -> np.ndarray:
    """Best validation score of each fold that was begun."""
    return np.array([max(fold) for fold in trial.outcome.curves if fold])


def difference(trial: Attempt, base: Attempt) -> Difference:
    """Compare two trials on the same folds."""
    if any(t.outcome.state != COMPLETE for t in (trial, base)):
        return Difference(np.nan, np.nan, 0, 0)
    apart = fold_scores(trial) - fold_scores(base)
    sd = float(apart.std(ddof=1)) if len(apart) > 1 else np.nan
    return Difference(float(apart.mean()), sd, int((apart > 0).sum()), len(apart))


def ranked(trials: Sequence[Attempt]) -> list[Attempt]:
    """Complete trials, the best first."""
    complete = [t for t in trials if t.outcome.state == COMPLETE]
    return sorted(complete, key=lambda t: (-t.value, t.number))


def verdict(trials: Sequence[Attempt]) -> str:
    """Whether the best trial differs from the base by more than the spread over folds."""
    base, best = trials[0], ranked(trials)[0]
    if base.outcome.state != COMPLETE:
        return (
            f"**The base recipe itself failed** ({base.outcome.reason}), so nothing can be "
            f"compared with it. The best trial is {best.number} with {best.value:.4f}."
        )
    if best.number == 0:
        return f"**No trial is better than the base recipe** ({base.value:.4f})."
    apart = difference(best, base)
    values = f"{best.value:.4f} against {base.value:.4f}, difference {apart.mean:+.4f}"
    if apart.folds < 2:
        return (
            f"**Whether trial {best.number} is better than the base recipe cannot be said**: there "
            f"is one fold, so no spread over folds ({values})."
        )
    spread = (
        f"{values} with a standard deviation of {apart.sd:.4f} over {apart.folds} folds, better in "
        f"{apart.better} of them"
    )
    count = len(ranked(trials)) - 1
    if apart.beyond_spread:
        return (
            f"**The best trial ({best.number}) differs from the base recipe by more than the "
            f"spread over folds**: {spread}. It is the best of {count} on these very rows, so the "
            "difference is flattered."
        )
    return (
        f"**The best trial ({best.number}) does NOT differ from the base recipe by more than the "
        f"spread over folds**: {spread}. It is the best of {count} on these very rows."
    )


def trial_table(search: SearchConfig, found: Found) -> pd.DataFrame:
    """A line a trial: state, value, score of each fold, epochs, settings, reason.

    Scores have six decimals: sums of floats differ beyond that from one run to the next.
    """
    lines = []
    for t in found.trials:
        scores = dict(zip(found.folds, fold_scores(t), strict=False))
        lines.append(
            {
                "trial": t.number,
                "state": t.outcome.state,
                "value": round(t.value, 6) if t.outcome.state == COMPLETE else np.nan,
                **{label: round(scores.get(label, np.nan), 6) for label in found.folds},
                "epochs": sum(map(len, t.outcome.curves)),
                **{key: t.params.get(key, "") for key in search.space},
                "reason": t.outcome.reason,
            }
        )
    return pd.DataFrame(lines)


def importances(search: SearchConfig, trials: Sequence[Attempt]) -> dict[str, float]:
    """How much each setting decides what is among the best trials (PED-ANOVA); {} with few trials.

    Pruned trials and the base are left out.
    """
    frozen = [t.frozen for t in trials if t.outcome.state == COMPLETE and t.params]
    if len(frozen) < FEWEST_FOR_IMPORTANCE:
        return {}
    import optuna

    study = optuna.create_study(direction="maximize")
    study.add_trials(frozen)
    return dict(optuna.importance.get_param_importances(study))


def write_report(search: SearchConfig, found: Found, out: Path) -> Path:
    """Write ``trials.csv``, ``best.yaml`` and ``report.md`` to `out`.

    Returns
    -------
    Path
        Of the report.
    """
    table = trial_table(search, found)
    write_bytes_atomic(out / "trials.csv", table.to_csv(index=False).encode())
    best = ranked(found.trials)[0]
    write_bytes_atomic(out / "best.yaml", _recipe_text(search, best, out).encode())
    sections = {
        "The best trials": _best_table(search, found),
        "How far their order can be trusted": _spread(found),
        "What ran": _counts(found),
        "Settings": _space_table(search, found),
        "Test rows": _seen(found),
    }
    text = f"# Search: {search.bench.name}\n\n{verdict(found.trials)}\n\n{_NOTES}\n"
    text += "".join(f"\n## {title}\n\n{body}\n" for title, body in sections.items())
    write_bytes_atomic(out / "report.md", text.encode())
    return out / "report.md"


def _recipe_text(search: SearchConfig, best: Attempt, out: Path) -> str:
    """The best trial as a recipe for ``xpert train``; of a baseline, as a model of a benchmark."""
    spec, bench = spec_of(search, best.params), search.bench
    head = (
        f"# Trial {best.number} of the search {bench.name}: {best.value:.4f} on inner validation.\n"
    )
    if spec.kind != XPERT:
        entry = {"name": spec.name, "kind": spec.kind, "settings": spec.settings}
        return head + "# An entry for `models:` of a benchmark.\n" + _yaml(entry)
    recipe = bench.base / spec.recipe
    changed = recipe_of(spec, bench.base)
    defaults = asdict(TrainConfig(name="", data=""))
    values = {k: v for k, v in changed.items() if v != defaults[k]}
    values["name"], values["data"] = f"{bench.name}-best", os.path.relpath(bench.data, out)
    for key in ("ppi", "graph"):
        if values.get(key):
            values[key] = os.path.relpath(recipe.parent / values[key], out)
    return head + _yaml(values)


def _yaml(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _table(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def base_values(search: SearchConfig) -> dict[str, Any]:
    """What the base has for each setting that is searched; "default" where a baseline's own."""
    if search.base.kind != XPERT:
        return {key: search.base.settings.get(key, "default") for key in search.space}
    recipe = TrainConfig.from_dict(recipe_of(search.base, search.bench.base))
    tables = {"": recipe, "model": ModelConfig.from_dict(recipe.model), "loss": recipe.loss}
    split = {key: key.rpartition(".") for key in search.space}
    return {key: getattr(tables[part], name) for key, (part, _, name) in split.items()}


def _best_table(search: SearchConfig, found: Found) -> str:
    base, order = found.trials[0], ranked(found.trials)
    shown = order[:SHOWN]
    if base in order and base not in shown:
        shown.append(base)
    standing = base_values(search)
    lines = []
    for t in shown:
        apart = difference(t, base)
        own = t.number != 0 and apart.folds > 0
        lines.append(
            [
                f"{t.number} (base)" if t.number == 0 else t.number,
                f"{t.value:.4f}",
                f"{apart.mean:+.4f} ± {apart.sd:.4f}" if own else "",
                f"{apart.better} of {apart.folds}" if own else "",
                *(_text(t.params.get(key, standing[key])) for key in search.space),
            ]
        )
    head = ["trial", "value", "minus base (± s.d. over folds)", "folds better", *search.space]
    scores = _table(
        ["trial", *found.folds],
        [[t.number, *(f"{s:.4f}" for s in fold_scores(t))] for t in shown],
    )
    return f"{_table(head, lines)}\n\nBest validation score of each fold:\n\n{scores}"


def _spread(found: Found) -> str:
    top = ranked(found.trials)[:TOP]
    if len(top) < 2 or len(found.folds) < 2:
        return "There are too few complete trials or folds to say."
    scores = np.stack([fold_scores(t) for t in top])
    apart = (scores - scores[0])[1:]
    spread = float(np.sqrt(np.mean(apart.var(axis=1, ddof=1))))
    values = scores.mean(axis=1)
    reach = float(values.max() - values.min())
    said = (
        "so their order says nothing"
        if reach <= spread
        else "so the last of them is behind by more than the folds differ"
    )
    return (
        f"The best {len(top)} lie within {reach:.4f}. What the best is ahead of each of them "
        f"varies from fold to fold with a standard deviation of {spread:.4f} (root mean square), "
        f"{said}. "
        f"The scores of the best itself have a standard deviation of {scores[0].std(ddof=1):.4f} "
        "over folds, which mostly says that some folds are harder for every trial."
    )


def _counts(found: Found) -> str:
    count = {s: sum(t.outcome.state == s for t in found.trials) for s in (COMPLETE, PRUNED, FAILED)}
    text = (
        f"{len(found.trials)} trials: {count[COMPLETE]} complete, {count[PRUNED]} pruned, "
        f"{count[FAILED]} failed. {found.interrupted} attempt(s) were cut off and run again."
    )
    failed = [[t.number, t.outcome.reason] for t in found.trials if t.outcome.state == FAILED]
    return f"{text}\n\n{_table(['failed trial', 'reason'], failed)}" if failed else text


def _space_table(search: SearchConfig, found: Found) -> str:
    best, weight = ranked(found.trials)[0], importances(search, found.trials)
    standing = base_values(search)
    lines = [
        [
            key,
            str(span),
            _text(standing[key]),
            _text(best.params.get(key, standing[key])),
            f"{weight[key]:.2f}" if key in weight else "",
        ]
        for key, span in search.space.items()
    ]
    said = (
        "Importance: how much a setting decides what is among the best tenth of the complete "
        "trials (PED-ANOVA of Optuna, sums to 1); pruned trials are left out, so it speaks of the "
        "better part."
        if weight
        else f"Importance needs {FEWEST_FOR_IMPORTANCE} complete trials beside the base."
    )
    return f"{_table(['setting', 'range', 'base', 'best', 'importance'], lines)}\n\n{said}"


def _seen(found: Found) -> str:
    table = _table(
        ["fold", "test rows that the search chose on in another fold"],
        [[label, f"{share:.0%}"] for label, share in found.seen.items()],
    )
    return (
        "No fold's test rows were used in that fold. With several folds, some were validation "
        "rows of another, so a benchmark of the chosen recipe is untouched by this search only "
        f"where the share is 0 %.\n\n{table}"
    )
