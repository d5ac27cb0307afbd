"""Manifests from an option of a plan: containers, Kubernetes, Ray Serve, vLLM."""
