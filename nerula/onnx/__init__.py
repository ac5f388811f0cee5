"""ONNX: a method's embedding as a graph of standard operations, in one file.

The graph is written operation by operation from the modules' tensors rather than traced: so batch
and time stay free, nothing in it depends on the machine or the version of torch, and what is not
known is refused instead of being frozen into a wrong graph. `nerula.onnx.verify` then compares
file and model on real ECGs, whatever the graph was meant to be.
"""
