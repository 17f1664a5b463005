"""Session-state keys. Patient data live here, one session each, and never in a global cache."""

from __future__ import annotations

#: The user whose session this is.
OWNER = "owner"

#: The uploaded file under inspection: an `app.components.upload_box.Upload`.
UPLOAD = "upload"
#: Counts the times the upload box was emptied; part of the box's own key.
UPLOAD_TURN = "upload_turn"
#: Scale and orientation the user chose instead of the detected ones.
SCALE = "scale"
ORIENTATION = "orientation"

#: Whether ids are replaced by pseudonyms before a cohort is stored.
PSEUDONYMS = "pseudonyms"

#: Identifier of the stored cohort in use, and its `Profiles` beside that identifier.
COHORT_ID = "cohort_id"
PROFILES = "profiles"

#: Id of the model chosen for this session; without it the owner's default counts.
MODEL = "model"
#: The Models page: the model looked at, those compared, and the one just imported.
MODEL_SHOWN = "model_shown"
MODELS_COMPARED = "models_compared"
MODEL_IMPORTED = "model_imported"
#: Counts the times the box for model files was emptied; part of the box's own key.
MODEL_TURN = "model_turn"

#: Choices of the Predict page; they survive a change of page.
SAMPLES = "samples"
DRUGS = "drugs"
DOSES = "doses"
TIMES = "times"
#: Drugs that can be chosen: name shown -> `Drug`.
DRUG_CHOICES = "drug_choices"
DRUG_QUERY = "drug_query"
DRUG_HITS = "drug_hits"
SMILES = "smiles"
SMILES_NAME = "smiles_name"
#: The structure read last: ((SMILES, name) as typed, `Drug`).
STRUCTURE = "structure"

#: The Drugs page: what was typed, and the example clicked.
PLACE_QUERY = "place_query"
PLACE_EXAMPLE = "place_example"

#: The running or finished `app.background.PredictionTask`.
TASK = "task"
#: Result on screen: (run id, `Prediction`).
RESULT = "result"
#: Cohort and run of the last prediction made on the Predict page: (cohort id, run id).
PREDICTED = "predicted"
#: Query parameter that gives a result its address.
RUN = "run"
#: Query parameter that gives a background job its address.
JOB = "job"

#: An error of a callback, to show once when the page is drawn anew.
NOTICE = "notice"

#: Fine-tune page: pairs under inspection (`app.components.paired_upload.PairedUpload`), the scale
#: chosen for them, how often the boxes were emptied, and the stored pairs in use.
PAIRED = "paired"
PAIRED_SCALE = "paired_scale"
PAIRED_TURN = "paired_turn"
PAIRS_ID = "pairs_id"
#: Choices of the Dose and time page.
DOSE_SOURCE = "dose_source"
DOSE_DRUG = "dose_drug"
DOSE_EXAMPLE = "dose_example"
DOSE_SERIES = "dose_series"
DOSE_SAMPLES = "dose_samples"
DOSE_DOSES = "dose_doses"
DOSE_TIMES = "dose_times"
DOSE_GENES = "dose_genes"
DOSE_SETS = "dose_sets"
DOSE_SET = "dose_set"
DOSE_SECTION = "dose_section"

#: Choices of the Maps page.
MAP_SPACE = "map_space"
MAP_CELL = "map_cell"
MAP_RUN = "map_run"
MAP_LABEL = "map_label"
MAP_METHOD = "map_method"
MAP_SEED = "map_seed"

#: The Molecule page: drug, samples, dose, time, genes, and what is shown of the result.
ATOM_DRUG = "atom_drug"
ATOM_SAMPLES = "atom_samples"
ATOM_DOSE = "atom_dose"
ATOM_TIME = "atom_time"
ATOM_GENES = "atom_genes"
ATOM_SCORE = "atom_score"
ATOM_LAYER = "atom_layer"
ATOM_EXAMPLE = "atom_example"
ATOM_OTHERS = "atom_others"
#: Its running task, what it was asked for, (cohort id, model hash, `Drug`), and the last
#: `AtomExplanation` with the `AtomAttention` of several models, where several were asked.
ATOM_TASK = "atom_task"
ATOM_ASKED = "atom_asked"
ATOMS = "atoms"
ATOM_RUNS = "atom_runs"

#: The Resistance page: which samples, column and values of the groups, attention, thresholds, what
#: is shown.
RESISTANCE_MODE = "resistance_mode"
RESISTANCE_COLUMN = "resistance_column"
RESISTANCE_SPLIT = "resistance_split"
RESISTANCE_A = "resistance_a"
RESISTANCE_B = "resistance_b"
RESISTANCE_KIND = "resistance_kind"
RESISTANCE_LAYER = "resistance_layer"
RESISTANCE_Q = "resistance_q"
RESISTANCE_RATIO = "resistance_ratio"
RESISTANCE_NULL = "resistance_null"
RESISTANCE_RANKED = "resistance_ranked"
RESISTANCE_COLLECTION = "resistance_collection"
GENE_KIND = "gene_kind"
GENE_LAYER = "gene_layer"
#: Its running task, what it was asked for, (cohort id, rows, model hash), the `Material` beside
#: that, and the last `Resistance`.
RESISTANCE_TASK = "resistance_task"
RESISTANCE_ASKED = "resistance_asked"
RESISTANCE_MATERIAL = "resistance_material"
RESISTANCE = "resistance"
#: Under treatment: the running task, the id of the pairs it was asked for, and the last `Changes`.
CHANGES_TASK = "changes_task"
CHANGES_ASKED = "changes_asked"
CHANGES = "changes"
#: Which of its tables is shown.
CHANGES_TABLE = "changes_table"
