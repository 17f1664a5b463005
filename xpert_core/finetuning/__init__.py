"""Fine-tuning a model on a paired cohort, and its comparison with what it has to beat."""
