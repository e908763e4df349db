"""Plain data in, plotly Figure out."""
