"""Few-shot learning of unseen doses on the A375 series: does pretraining pay, and how many shots?

Usage: python -m training.few_shot training/configs/few-shot.yaml OUT DOCS [repeats] [seeds]

Every training is a file of the folder OUT and is not done again. The folder DOCS gets few-shot.md,
its figures (SVG) and few-shot.csv.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from xpert_core.benchmark.few_shot import (
    KNOWN_DOSES,
    PRETRAINED,
    SCRATCH,
    TUNED,
    Plan,
    baseline_predictions,
    curve,
    gains,
    make_plan,
    pretrained_predictions,
    row_scores,
    train_state,
)
from xpert_core.benchmark.figures import COLOURS
from xpert_core.benchmark.markdown import interval, table
from xpert_core.files import atomic_path, write_bytes_atomic
from xpert_core.learning.config import TrainConfig
from xpert_core.tokens.dataset import TrainingData

#: Of fine-tuning and of training from scratch on the same few rows: one budget, cut by early
#: stopping; all else as in the recipe. With 12 epochs every fine-tuning ended at its limit.
FROM_SCRATCH = {"max_epochs": 60, "patience": 10, "gene_share": 1.0}
TUNING = {**FROM_SCRATCH, "lr": 2e-3}
MODELS = (TUNED, SCRATCH, KNOWN_DOSES, "ridge", "mean of the cell line")


class Room:
    """Folder of finished parts, named by all that their numbers depend on."""

    def __init__(self, folder: Path, *identity: object) -> None:
        text = json.dumps(identity, sort_keys=True, default=str)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)

    def state(self, seed: int) -> Path:
        return self.folder / f"pretrained-{seed}.safetensors"

    def scores(self, *name: object) -> Path:
        return self.folder / ("-".join(map(str, name)) + ".parquet")


def pretrained(
    config: TrainConfig, base: Path, data: TrainingData, plan: Plan, room: Room
) -> dict[str, torch.Tensor]:
    """The pretrained network of a seed; trained once."""
    path = room.state(config.seed)
    if not path.is_file():
        print(f"Pretraining, seed {config.seed}, {len(plan.pretraining.train):,} rows", flush=True)
        state, _ = train_state(config, base, data, plan.pretraining, progress=_say)
        with atomic_path(path) as temporary:
            save_file({k: v.contiguous() for k, v in state.items()}, temporary)
    return load_file(path)


def _say(done: int, most: int, scores: dict[str, float]) -> None:
    print(f"  epoch {done} of {most}: {scores['score']:.3f}", flush=True)


def keep(
    data: TrainingData, path: Path, rows: np.ndarray, predicted: dict[str, np.ndarray]
) -> None:
    """Write the scores of every tested row by model."""
    tables = [row_scores(data, rows, x).assign(model=name) for name, x in predicted.items()]
    with atomic_path(path) as temporary:
        pd.concat(tables, ignore_index=True).to_parquet(temporary)


def run_all(config: TrainConfig, base: Path, data: TrainingData, room: Room, plan: Plan,
            seeds: int) -> pd.DataFrame:  # fmt: skip
    """Every repeat, number of shots and seed; returns the scores of all tested rows."""
    found = []
    for repeat, splits in enumerate(plan.repeats, start=1):
        for shots in plan.distinct():
            split = splits[shots]
            path = room.scores("baselines", repeat, shots)
            if not path.is_file():
                keep(data, path, split.test, baseline_predictions(data, plan.pretraining, split))
            found.append(pd.read_parquet(path).assign(repeat=repeat, shots=shots, seed=-1))
            for seed in range(seeds):
                path = room.scores("xpert", repeat, shots, seed)
                if not path.is_file():
                    print(f"Repeat {repeat}, {shots}, seed {seed}", flush=True)
                    own = networks(config, base, data, room, plan, repeat - 1, shots, seed)
                    keep(data, path, split.test, own)
                found.append(pd.read_parquet(path).assign(repeat=repeat, shots=shots, seed=seed))
    return pd.concat(found, ignore_index=True)


def networks(config: TrainConfig, base: Path, data: TrainingData, room: Room, plan: Plan,
             repeat: int, shots: str, seed: int) -> dict[str, np.ndarray]:  # fmt: skip
    """x_deg of the tested rows by each way to train the network."""
    values = {**config.to_dict(), "seed": seed}
    start = pretrained(TrainConfig.from_dict(values), base, data, plan, room)
    split = plan.repeats[repeat][shots]
    # What the profiles of the tested rows are is known in all settings; zero shots train on none.
    plain = plan.repeats[repeat][shots if len(split.train) else "one"]
    whole = TrainConfig.from_dict(values)
    found = {PRETRAINED: pretrained_predictions(whole, base, data, plain, start)}
    if not len(split.train):
        return found
    tuned = TrainConfig.from_dict({**values, **TUNING})
    found[TUNED] = train_state(tuned, base, data, split, start)[1]
    scratch = TrainConfig.from_dict({**values, **FROM_SCRATCH})
    found[SCRATCH] = train_state(scratch, base, data, split)[1]
    return found


def shown(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores with the pretrained network as the zero-shot point of fine-tuning alone."""
    zero = scores["shots"] == "zero"
    first = scores[zero & (scores["model"] == PRETRAINED)].assign(model=TUNED)
    return pd.concat([scores[scores["model"] != PRETRAINED], first], ignore_index=True)


def names_of(plan: Plan) -> dict[str, str]:
    """What each number of shots is called: equal ones share a name."""
    of: dict[bytes, list[str]] = {}
    for name, split in plan.repeats[0].items():
        label = name if not name.startswith("0.") else f"{float(name):.0%}".replace("%", " %")
        of.setdefault(split.train.tobytes(), []).append(label)
    names = {}
    for shots in plan.distinct():
        names[shots] = " = ".join(of[plan.repeats[0][shots].train.tobytes()])
    return names


def waterfall(scores: pd.DataFrame, zero: str) -> pd.DataFrame:
    """Gain of each setting over the pretrained network without shots (Fig. 5d)."""
    later = scores[scores["shots"] != zero]
    return pd.concat([gains(later, m, TUNED, zero, scores) for m in MODELS], ignore_index=True)


def charts(points: pd.DataFrame, steps: pd.DataFrame, order: list[str]) -> dict[str, alt.Chart]:
    """The curve (Fig. 5c) and the waterfall (Fig. 5d)."""
    axis = alt.Axis(title="conditions of the pair that were trained on", labelAngle=0)
    x = alt.X("shots:N", sort=order, axis=axis)
    colour = alt.Color(
        "model:N", sort=list(MODELS), legend=alt.Legend(title=None, labelLimit=320),
        scale=alt.Scale(domain=list(MODELS), range=list(COLOURS[1 : 1 + len(MODELS)])),
    )  # fmt: skip
    band = points.assign(lower=points["mean"] - points["sd"], upper=points["mean"] + points["sd"])
    base = alt.Chart(band).encode(x=x, color=colour)
    area = base.mark_area(opacity=0.15).encode(
        y=alt.Y("lower:Q", title="PCC of x_deg", scale=alt.Scale(zero=False)), y2="upper:Q"
    )
    line = base.mark_line(point=True).encode(y="mean:Q")
    bars = alt.Chart(steps).encode(x=x, xOffset=alt.XOffset("model:N", sort=list(MODELS)))
    bar = bars.mark_bar().encode(y=alt.Y("mean:Q", title="gain over zero shots"), color=colour)
    rule = bars.mark_rule().encode(y="low:Q", y2="high:Q")
    # Room for the legend in fonts wider than the one it was measured in.
    padding = {"left": 5, "top": 5, "right": 70, "bottom": 5}
    return {
        "curve": (area + line).properties(width=560, height=320, padding=padding),
        "waterfall": (bar + rule).properties(width=560, height=280, padding=padding),
    }


def shown_table(found: pd.DataFrame) -> str:
    """Markdown; a mean and its interval are one cell."""
    lines = []
    for row in found.to_dict("records"):
        mean, low, high = (float(row.pop(name)) for name in ("mean", "low", "high"))
        cells = {str(k): f"{v:.3f}" if isinstance(v, float) else str(v) for k, v in row.items()}
        lines.append({**cells, "PCC": interval(mean, low, high, sign="sd" not in row)})
    return table(list(lines[0]), [list(line.values()) for line in lines])


def verdict(tuned: pd.DataFrame) -> str:
    """One sentence on what fine-tuning beats, by interval."""
    found = []
    for other, own in tuned.groupby("minus", sort=False):
        better = own.loc[own["low"] > 0, "shots"].tolist()
        worse = own.loc[own["high"] < 0, "shots"].tolist()
        words = [f"better at {', '.join(better)}"] if better else []
        words += [f"worse at {', '.join(worse)}"] if worse else []
        found.append(f"{other}: {'; '.join(words) or 'no difference at any number of shots'}")
    return f"{TUNED}, against {'. Against '.join(found)}."


def report(plan: Plan, scores: pd.DataFrame, seeds: int, docs: Path) -> None:
    """Write few-shot.md, its figures and its numbers."""
    names = names_of(plan)
    scores = shown(scores).assign(shots=lambda t: t["shots"].map(names))
    order, points = list(names.values()), curve(scores)
    steps = waterfall(scores, names["zero"])
    tuned = pd.concat([gains(scores, TUNED, m) for m in MODELS[1:]], ignore_index=True)
    rows = plan.shots()
    text = TEXT.format(
        verdict=verdict(tuned), n_pairs=plan.n_pairs, repeats=len(plan.repeats), seeds=seeds,
        pretraining=len(plan.pretraining.train), tested=len(plan.repeats[0]["zero"].test),
        rows=", ".join(f"{names[s]}: {rows[s]} rows" for s in names),
        curve=shown_table(points), paired=shown_table(tuned.drop(columns="model")),
        waterfall=shown_table(steps.drop(columns="minus")),
        tuning=", ".join(f"{k} {v}" for k, v in TUNING.items()),
        scratch=", ".join(f"{k} {v}" for k, v in FROM_SCRATCH.items()),
    )  # fmt: skip
    docs.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(docs / "few-shot.md", text.encode())
    write_bytes_atomic(docs / "few-shot.csv", points.to_csv(index=False).encode())
    for name, chart in charts(points, steps, order).items():
        with atomic_path(docs / f"few-shot-{name}.svg") as temporary:
            chart.save(str(temporary), format="svg")
    print(text)


TEXT = """\
# Few-shot learning of doses

{verdict}

The question of the paper's Fig. 5: what do a few measured conditions of a cell-drug pair say of
the others? {n_pairs} pairs have three or more conditions (A375, level 3, nearly all with six doses
at 24 h). XPert was pretrained on {pretraining:,} rows of all other pairs, without a row of these,
and then fine-tuned, all parameters, on the conditions given ({tuning}). From scratch: the same
network on the same few rows ({scratch}). {repeats} random repeats, {seeds} seed(s). In each repeat
one condition a pair is tested ({tested} rows), the same at every number of shots, and one chooses
the epoch, for every network alike. That one is measured too: "one" is one trained on and one chosen
on. Rows trained on: {rows}. With six doses a pair, some of the paper's settings are the same rows.

What a network has to beat: the mean of the pair's own conditions, which knows nothing but the
shots; ridge and the mean of the cell line, fitted on the pretraining rows and the shots together.

![PCC by number of shots](few-shot-curve.svg)

{curve}

Intervals are 95 % over drugs; "sd" is over repeats, as in the paper. Fine-tuned minus another on
the same rows:

{paired}

![Gain over zero shots](few-shot-waterfall.svg)

Gain over the pretrained network without shots:

{waterfall}

The paper also shows TranSiGen and CIGER: their own pretraining and fine-tuning are not run here.
One cell line and one time: nothing is said of other cell lines, or of new times.
"""


def main(recipe: Path, folder: Path, docs: Path, repeats: int = 5, seeds: int = 1) -> None:
    """Run what is not done yet and write the report."""
    config = TrainConfig.load(recipe)
    torch.set_num_threads(config.threads)
    torch.set_flush_denormal(True)
    data = TrainingData.load(recipe.parent / config.data)
    room = Room(folder, data.features_digest, config.to_dict(), TUNING, FROM_SCRATCH)
    plan = make_plan(data, n_repeats=repeats)
    report(plan, run_all(config, recipe.parent, data, room, plan, seeds), seeds, docs)


if __name__ == "__main__":
    recipe, folder, docs = map(Path, sys.argv[1:4])
    main(recipe, folder, docs, *map(int, sys.argv[4:6]))
