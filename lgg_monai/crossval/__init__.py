"""Cross-validation: every fold trained and scored, and all patients' out-of-fold scores in one table."""
