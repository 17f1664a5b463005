"""One script a page, run by the navigation of `main.py`."""
