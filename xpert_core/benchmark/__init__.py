"""Models x scenarios x folds x seeds on one data set, and the report of what came out."""
