"""Metrics, each measured through the exported ONNX graphs; a recipe names those that it wants."""
