"""Runs on a node: converges the local runtime to the desired state and reports what it observes."""

VERSION = "0.1.0"
