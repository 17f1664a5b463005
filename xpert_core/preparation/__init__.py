"""Public files to prepared data: LINCS, PANACEA, CDS-DB, GEO and the published layout.

Every source ends in one layout (`xpert_core.preparation.layout`), and one step turns that layout
into prepared tensors for training and the benchmark (`xpert_core.preparation.tensors`).
"""
