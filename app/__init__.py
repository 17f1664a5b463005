"""The dashboard: pages that show what `xpert_core` computes, and compute nothing themselves."""
