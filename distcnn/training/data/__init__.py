"""Labelled stars: read from a survey, scaled, augmented, dealt to batches."""
