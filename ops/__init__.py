"""Monitoring and operations: health checks, heartbeats, ledger audits, the dashboard, and operators' commands."""
