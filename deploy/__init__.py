"""What is run beside the service: containers, dashboards, alerts, charts, and their tests."""
