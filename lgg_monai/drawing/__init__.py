"""Pictures of slices with outlines, for whoever shows masks: evaluations, analyses and the page of a prediction."""
