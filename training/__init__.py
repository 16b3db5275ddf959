"""From a recipe to a model directory: train with Lightning, export to ONNX, calibrate, evaluate."""
