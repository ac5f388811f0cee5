"""Comparison: methods x tasks x seeds under one budget, and the tables that come out.

A table says which rows (methods with arguments) and columns (task, probe, metric) it wants. From
the tables follows a plan of cells; each cell is computed once, and what there is, is rendered. No
torch in here: training is handed in, models and probes are imported when a cell needs them.
"""
