"""Test cases of SLOs and policies (`kind: Test`): series in, ratios, burn rates, alerts and decisions out."""
