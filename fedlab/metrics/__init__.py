"""What a prediction is worth: scores and their intervals, calibration, decisions, and the cells that may be told."""
