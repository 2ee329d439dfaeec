"""How far a trained model can be trusted: degraded scans, calibrated probabilities, uncertain patients."""
