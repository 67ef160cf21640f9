"""Scores of patients, each as one volume."""
