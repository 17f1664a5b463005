"""The kinds of jobs: name -> ``"module:function"``, imported only in the process that runs the job.

A function takes a `JobContext` and the parameters (a dict) and returns the result (a dict; both
hold what JSON holds, numbers of NumPy and NaN too). A new kind is one such function and one line
here. The function should:

- call ``context.progress``, ``log`` and ``metric`` as it goes: they cost next to nothing;
- call ``context.check()`` in its loops, or hand ``context.cancelled`` down: a job that does not
  notice is killed a second later, which is safe but loses what was done since the last checkpoint;
- keep checkpoints in ``context.folder``, written with `xpert_core.files.atomic_path`, and go on
  from what is there: it may be killed at any moment and is then started again
  (``context.attempt`` > 1);
- store a result so that doing it twice does not matter (``Store.save_prediction(run_id=
  context.job_id)``): a kill may come between the result and the end of the job.
"""

from __future__ import annotations

from xpert_core.errors import JobError

KINDS: dict[str, str] = {
    "predict": "xpert_core.jobs.work:predict",
    "train": "xpert_core.jobs.work:train",
    "benchmark": "xpert_core.jobs.work:benchmark",
    "finetune": "xpert_core.jobs.finetuning:finetune",
    "explain": "xpert_core.jobs.explaining:explain",
}


def function_of(kind: str) -> str:
    """``"module:function"`` of a kind.

    Raises
    ------
    JobError
        There is no such kind.
    """
    if kind not in KINDS:
        raise JobError(
            "This version does not know jobs of this kind.",
            where=f"{kind!r}; known: {', '.join(KINDS)}",
            fix="Choose one of these, or install the version that the job was made with.",
        )
    return KINDS[kind]
