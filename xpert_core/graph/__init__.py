"""The knowledge graph of drugs and genes: its tables, its construction, its encoder."""
