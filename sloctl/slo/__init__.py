"""SLOs: objectives, their history, burn rates and budgets; OpenSLO in, Prometheus rules out. Pure."""
