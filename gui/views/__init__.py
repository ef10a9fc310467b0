"""Widgets: one class per panel, composed by :mod:`gui.main_window`."""
