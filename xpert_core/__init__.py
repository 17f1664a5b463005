"""XPert engine: predicts drug-induced changes of the 978 L1000 landmark genes."""

__version__ = "0.1.0"
