"""The charts: the only importer of pyqtgraph. Layout is arithmetic (no Qt), painting is a view of it."""
