"""Does pretraining on cell lines pay on patients? Base model against scratch, by patient.

Usage: python -m training.pretraining_pays COHORT.h5ad OUT.md [--work FOLDER] [--seeds 3]
           [--folds 5] [--method adapters] [--base MODEL] [--threads 1]

`--method` may be repeated. Every fold that is done stands in FOLDER (runs/pretraining-pays) and is
not done again, so the command can be stopped and repeated. Seeds draw other folds of patients,
other inner validation patients and other weights. The number of a pair is its mean over the seeds,
so that the interval over patients does not count seeds as patients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.cohorts import PairedProfiles, read_cohort, require_usable, to_pairs
from xpert_core.files import write_bytes_atomic
from xpert_core.finetuning.compare import (
    BASE,
    FINETUNED,
    LABELS,
    MEAN,
    MLP,
    SCRATCH,
    Comparison,
    Interval,
    compare,
    save_comparison,
)
from xpert_core.finetuning.config import FinetuneConfig
from xpert_core.finetuning.data import CohortData, prepare_cohort
from xpert_core.finetuning.hooks import Hooks
from xpert_core.genes import load_panel
from xpert_core.model.checkpoint import Checkpoint, load_checkpoint
from xpert_core.prediction.models import model_folder

#: Pairs of models whose difference is reported.
CONTRASTS = ((FINETUNED, SCRATCH), (FINETUNED, BASE), (FINETUNED, MEAN), (SCRATCH, MEAN),
             (FINETUNED, MLP))  # fmt: skip


def run(
    base: Checkpoint, cohort: CohortData, work: Path, method: str, options: argparse.Namespace
) -> list[Comparison]:
    """One comparison a seed."""
    found = []
    for seed in range(options.seeds):
        config = FinetuneConfig(method=method, seed=seed, split_seed=seed, threads=options.threads)
        folder = work / f"{method}-seed{seed}"
        hooks = Hooks(progress=_print_start)
        result = compare(base, cohort, folder, config, folds=options.folds, hooks=hooks)
        save_comparison(folder / "comparison.json", result)
        print(f"{method}, seed {seed}: {result.verdict}", flush=True)
        found.append(result)
    return found


def _print_start(done: int, total: int, text: str) -> None:
    if text.endswith("starting"):
        print(f"{done} of {total}: {text}", flush=True)


def per_pair(results: list[Comparison]) -> pd.DataFrame:
    """PCC of each model for each pair, mean over the seeds, with the patient."""
    table = pd.concat([pd.DataFrame(result.pairs) for result in results])
    models = list(LABELS)
    mean = table.groupby("pair_id", sort=True)[models].mean()
    return mean.join(table.drop_duplicates("pair_id").set_index("pair_id")["patient"])


def section(method: str, results: list[Comparison]) -> str:
    """Scores and differences of one method, in Markdown."""
    pairs = per_pair(results)
    patients = pairs["patient"].to_numpy()
    seeds = [[f"{result.score(model).pcc.mean:.3f}" for result in results] for model in LABELS]
    scores = "\n".join(
        f"| {label.format(method=method)} | {Interval.of(pairs[model].to_numpy(), patients)} | "
        f"{np.mean([r.score(model).centred.mean for r in results]):.3f} | {', '.join(own)} |"
        for (model, label), own in zip(LABELS.items(), seeds, strict=True)
    )
    lines = []
    for one, two in CONTRASTS:
        found = Interval.of((pairs[one] - pairs[two]).to_numpy(), patients)
        names = (LABELS[m].format(method=method) for m in (one, two))
        lines.append(f"| {' minus '.join(names)} | {found} | {_words(found)} |")
    pays = Interval.of((pairs[FINETUNED] - pairs[SCRATCH]).to_numpy(), patients)
    answer = {
        "above": "Pretraining pays: the fine-tuned base model is better than scratch.",
        "below": "Pretraining costs: the fine-tuned base model is worse than scratch.",
        "not told apart": "Pretraining makes no difference that this cohort could show.",
    }[_words(pays)]
    return f"""\
## {method}

**{answer}** Fine-tuned minus scratch: {pays}.

| model | PCC [95 % interval] | centred PCC | each seed |
| --- | --- | --- | --- |
{scores}

| difference | PCC [95 % interval] | |
| --- | --- | --- |
{chr(10).join(lines)}

Best epochs, fine-tuned: {_epochs(results, FINETUNED)}; scratch: {_epochs(results, SCRATCH)}.
"""


def _words(found: Interval) -> str:
    if found.low > 0:
        return "above"
    return "below" if found.high < 0 else "not told apart"


def _epochs(results: list[Comparison], model: str) -> str:
    return ", ".join(str(epoch) for result in results for epoch in result.epochs[model])


def report(pairs: PairedProfiles, base: Checkpoint, found: dict[str, list[Comparison]]) -> str:
    """The whole report."""
    first = next(iter(found.values()))[0]
    drugs = ", ".join(f"{name} ({n} pairs)" for name, n in first.drugs.items())
    n_seeds = len(next(iter(found.values())))
    sections = "\n".join(section(method, results) for method, results in found.items())
    return f"""\
# Does pretraining pay on patients?

{pairs.name}: {first.n_pairs} pairs of {first.n_patients} patients before and after treatment with
{drugs}. Base model: {base.meta.name} (hash {base.digest[:12]}), trained on cell lines. Scratch: the
same network from random weights, all parameters trained, on the same patients.

Patients are held out in {first.folds} folds, for {n_seeds} seeds; inner validation patients choose
the epoch, test patients choose nothing. PCC: Pearson correlation of the predicted and the measured
change of a pair over the genes measured, mean over seeds, then over pairs; 95 % bootstrap interval
over patients. Centred: after the mean change of the other patients is taken from both. Drugs are
not held out.

{sections}
The default learning rates of fine-tuning were chosen on nine inner validation patients of the
nivolumab cohort (docs/finetune.md, "Settings"), who are test patients of other folds here: that
would favour fine-tuning. That of scratch was not chosen on them.

Written by `python -m training.pretraining_pays`; settings are the defaults of `xpert finetune`.
"""


def main() -> None:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining-pays"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--method", action="append", choices=("adapters", "full"))
    parser.add_argument("--base")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    base = load_checkpoint(model_folder(options.base))
    pairs = to_pairs(read_cohort(options.cohort), load_panel(base.meta.panel["name"]))
    require_usable(pairs)
    cohort = prepare_cohort(pairs, base)
    work = options.work / options.cohort.stem
    found = {
        method: run(base, cohort, work, method, options)
        for method in dict.fromkeys(options.method or ["adapters"])
    }
    write_bytes_atomic(options.out, report(pairs, base, found).encode())
    print(f"Report: {options.out}")


if __name__ == "__main__":
    main()
