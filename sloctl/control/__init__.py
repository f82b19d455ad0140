"""The control plane: it measures, judges, decides and exports; and the supervisor that keeps both planes up."""
