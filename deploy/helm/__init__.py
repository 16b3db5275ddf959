"""The Helm chart, and its check."""
