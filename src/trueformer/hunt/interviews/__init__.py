"""Interviews: a sealed, timed set of cases for a candidate, and a report for the interviewer."""
