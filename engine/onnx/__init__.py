"""ONNX files as models: read without their weights, shapes inferred, nodes costed, edited, saved. No torch here."""
