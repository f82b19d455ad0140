"""What sloctl measures (the metric catalogue), and how it logs and traces itself."""
